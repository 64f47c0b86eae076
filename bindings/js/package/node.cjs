// Node, for `require` and for `import` alike: so that there is one of each class.
'use strict';

const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const errors = require('./lib/errors.cjs');
const { start, ...api } = require('./lib/policy.cjs');

start(new WebAssembly.Module(readFileSync(join(__dirname, 'smtp-fallback-policy.wasm'))));

module.exports = { ...api, ...errors };
