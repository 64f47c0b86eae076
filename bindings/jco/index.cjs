'use strict';

const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { instantiate } = require('./smtp-fallback-policy.cjs');

/** Core modules by their file, each compiled once in the life of the program. */
const compiled = new Map();

function compile(file) {
  if (!compiled.has(file)) {
    compiled.set(file, new WebAssembly.Module(readFileSync(join(__dirname, file))));
  }
  return compiled.get(file);
}

function load() {
  return instantiate(compile, {}).policy;
}

module.exports = { load };
