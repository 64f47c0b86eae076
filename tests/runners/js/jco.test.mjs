// What users of the component by jco meet beyond the vectors.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { address } from './jco-face.mjs';
import { checkout } from './installed.mjs';

const folder = join(checkout, 'dist/jco');
const require = createRequire(import.meta.url);

test('each load gives a policy of its own', () => {
  const { load } = require(folder);
  const [one, other] = [load(), load()];
  const secret = new TextEncoder().encode('0123456789abcdef');
  assert.equal(one.configure('{"mode": "observe"}', secret).mode, 'observe');
  const connection = {
    stage: 'greeting',
    client: one.parseAddress('2001:db8::25'),
    listener: 'mx',
    tls: { tag: 'none' },
    authenticated: false,
    listenerOffers: false,
    keywordShown: false,
    acknowledged: false,
    reachableOverIpv4: true,
    ipv4ArrivalsVisible: false,
    now: 1_700_000_000n,
    nonce: 0,
    records: [],
  };
  assert.equal(one.decide(connection).reason, 'undecided');
  assert.equal(other.decide(connection).reason, 'no-policy');
});

test('an error carries what the contract says of it', () => {
  const policy = require(folder).load();
  assert.throws(
    () => policy.configure('{"mode": 1}', new Uint8Array()),
    (error) => error instanceof Error && error.payload[0].pointer === '/mode' && error.payload[0].line === 1,
  );
  assert.throws(() => policy.parseAddress('x'), (error) => /is no IP address/.test(error.payload) && /is no IP address/.test(error.message));
  assert.throws(() => policy.decide({}), TypeError);
});

test('it can be imported as well, and is the same', async () => {
  const imported = await import(pathToFileURL(join(folder, 'index.js')));
  assert.equal(imported.load, require(folder).load);
});

test('nothing in it imports anything but its own files and what Node has', () => {
  for (const file of readdirSync(folder).filter((name) => /\.c?js$/.test(name))) {
    const text = readFileSync(join(folder, file), 'utf8');
    const imported = [...text.matchAll(/(?:\brequire\(|^import .* from )'([^']+)'/gm)].map(([, name]) => name);
    assert.deepEqual(imported.filter((name) => !name.startsWith('./') && !name.startsWith('node:')), [], file);
  }
});

test('the example of the README runs', () => {
  const readme = readFileSync(join(checkout, 'bindings/jco/README.md'), 'utf8');
  const [, example] = /```js\n([\s\S]*?)```/.exec(readme);
  const [, printed] = /prints\n\n```\n([\s\S]*?)```/.exec(readme);
  const place = mkdtempSync(join(tmpdir(), 'smtp-fallback-jco-'));
  try {
    const file = join(place, 'example.cjs');
    writeFileSync(file, example.replace("'./dist/jco'", JSON.stringify(folder)));
    assert.equal(execFileSync(process.execPath, [file], { encoding: 'utf8' }), printed);
  } finally {
    rmSync(place, { recursive: true });
  }
});

test('its types are found by import and by require', () => {
  const place = mkdtempSync(join(tmpdir(), 'smtp-fallback-jco-'));
  const program = (entry) => `import { load, type Connection, type Policy, type Verdict } from ${JSON.stringify(join(folder, entry))};
const policy: Policy = load();
const connection = { now: 1n, tls: { tag: 'verified', val: ['a'] } } as Connection;
export const verdict: Verdict = policy.decide(connection, undefined, undefined, undefined).verdict;
// @ts-expect-error It is a bigint.
connection.now = 1;
`;
  const compiler = join(checkout, 'bindings/js/tools/node_modules/typescript/bin/tsc');
  try {
    writeFileSync(join(place, 'use.mts'), program('index.js'));
    writeFileSync(join(place, 'use.cts'), program('index.cjs'));
    const options = ['--strict', '--noEmit', '--module', 'node16', '--target', 'es2022', '--lib', 'es2022,dom', 'use.mts', 'use.cts'];
    const { status, stdout } = spawnSync(process.execPath, [compiler, ...options], { cwd: place, encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  } finally {
    rmSync(place, { recursive: true });
  }
});

test('addresses as text', () => {
  const policy = require(folder).load();
  for (const text of ['::', '::1', '2001:db8::', '2001:db8:0:1::25', '2001:0:1::1', '1:0:1:0:1:0:1:0', '192.0.2.1', '2001:db8:0:1:1:1:1:1', '1::']) {
    assert.equal(address(policy.parseAddress(text)), text);
  }
});
