// What users of the npm package meet beyond the vectors: defaults, errors, closing, both ways to load it, the example of its README.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { checkout, client, consumer, envelope, failing, message, passing, require } from './installed.mjs';

const api = require('smtp-fallback-policy');
const { Policy } = api;

/** What this throws. */
function thrown(work) {
  try {
    work();
  } catch (error) {
    return error;
  }
  return assert.fail('nothing was thrown');
}

/** It is an error of this class, and of the one that all have in common. */
function assertIs(error, name) {
  assert.ok(error instanceof api[name] && error instanceof api.SmtpFallbackError && error instanceof Error, String(error));
  assert.equal(error.name, name);
  assert.ok(error.stack.includes('npm.test.mjs'), 'it says where it was');
}

test('a decision with the least that is needed', () => {
  const policy = new Policy({}, { secret: '0123456789abcdef' });
  const refused = policy.decide(client, envelope, message, failing);
  assert.equal(refused.verdict.refuse.code, 421);
  assert.equal(refused.verdict.refuse.enhancedCode, '4.4.8');
  assert.equal(refused.reason, 'unauthenticated');
  assert.equal(refused.would, null);
  assert.ok(refused.records.length > 0 && refused.records.every(({ value }) => value instanceof Uint8Array));
  assert.equal(policy.decide(client, envelope, message, passing).verdict, 'accept');
  assert.equal(policy.decide({ stage: 'greeting', client: '192.0.2.1' }).reason, 'ipv4');
  assert.match(policy.explain(client, envelope, message, failing), /421/);
  assert.deepEqual(policy.keys(client).map(({ kind, prefixLength }) => [kind, prefixLength]), [
    ['network', 64],
    ['address', 128],
    ['budget', 48],
  ]);
});

test('what is left out is as Connection::new has it, and null is as good as missing', () => {
  const policy = new Policy('{}', { secret: [1, 2, 3] });
  const whole = {
    ...client,
    listener: 'mx',
    tls: 'none',
    authenticated: false,
    listenerOffers: false,
    keywordShown: false,
    acknowledged: false,
    reachableOverIpv4: true,
    ipv4ArrivalsVisible: false,
    nonce: 0,
    records: [],
  };
  const decided = policy.decide(whole, envelope, message, { ...failing, arc: undefined });
  assert.deepEqual(policy.decide(client, envelope, message, failing), decided);
  const nulls = { ...client, listener: null, tls: null, records: undefined, nonce: null };
  assert.deepEqual(policy.decide(nulls, envelope, message, { ...failing, arc: null, iprev: null }), decided);
  // Each of them counts.
  assert.equal(policy.decide({ ...whole, reachableOverIpv4: false }, envelope, message, failing).reason, 'not-reachable-over-ipv4');
  assert.equal(policy.decide({ ...whole, listener: 'lmtp' }, envelope, message, failing).reason, 'out-of-scope');
});

test('records go in as they came out, and as numbers', () => {
  const policy = new Policy({}, { secret: new Uint8Array(16) });
  const { records } = policy.decide(client, envelope, message, failing);
  const stored = records.map(({ key, value }) => ({ key, value }));
  const later = { ...client, now: client.now + 60 };
  const again = policy.decide({ ...later, records: stored }, envelope, message, failing);
  assert.equal(again.linked.matchKind, 'exact');
  const numbers = stored.map(({ key, value }) => ({ key, value: [...value] }));
  assert.deepEqual(policy.decide({ ...later, records: numbers }, envelope, message, failing), again);
  const buffers = stored.map(({ key, value }) => ({ key, value: Buffer.from(value) }));
  assert.deepEqual(policy.decide({ ...later, records: buffers }, envelope, message, failing), again);
  assert.equal(api.inspect(records.find(({ key }) => key.kind === 'network')).network, '2001:db8::/64');
});

test('half of a character counts as U+FFFD', () => {
  const policy = new Policy({}, { secret: 'x' });
  const keys = (messageId) => policy.keys(client, envelope, { ...message, messageId });
  assert.deepEqual(keys('<\ud800@example.net>'), keys('<\ufffd@example.net>'));
  assert.notDeepEqual(keys('<\ud800@example.net>'), keys('<?@example.net>'));
});

test('the secret stays until another is given', () => {
  const exact = (policy) => policy.decide(client, envelope, message, failing).records.find(({ key }) => key.kind === 'exact')?.key.address;
  const expected = exact(new Policy({}, { secret: 'one' }));
  assert.notEqual(expected, undefined);
  const reloaded = new Policy({}, { secret: 'one' });
  reloaded.configure({ url: 'https://www.example.org/' });
  assert.equal(exact(reloaded), expected);
  const later = new Policy(null, { secret: Uint8Array.from(Buffer.from('one')) });
  later.configure({});
  assert.equal(exact(later), expected);
  later.configure({}, { secret: 'two' });
  assert.notEqual(exact(later), expected);
  assert.throws(() => new Policy(null, { secret: 5 }), api.ArgumentError);
});

test('the secret counts, and a text stands for its octets', () => {
  const mail = (secret) => new Policy({}, { secret }).decide(client, envelope, message, failing).records.find(({ key }) => key.kind === 'exact')?.key.address;
  assert.equal(mail('é'), mail(Uint8Array.of(0xc3, 0xa9)));
  assert.notEqual(mail('é'), mail('e'));
  assert.equal(mail(undefined), undefined);
});

test('a policy: none, a text, an object, another', () => {
  const policy = new Policy();
  assert.equal(policy.summary, null);
  assert.equal(policy.decide(client).reason, 'no-policy');
  assert.equal(policy.configure('{"mode": "observe"}', { secret: '0123456789abcdef' }).mode, 'observe');
  assert.equal(policy.summary.mode, 'observe');
  assert.deepEqual(policy.decide(client, envelope, message, failing).would.refuse.code, 421);
  const error = thrown(() => policy.configure({ mode: 'enforcing' }));
  assertIs(error, 'PolicyError');
  assert.equal(policy.summary.mode, 'observe', 'the one before stays');
});

test('errors of a policy have their place', () => {
  const error = thrown(() => new Policy('{"mode": 1,\n "penalty": {"frist": "1m"}}'));
  assertIs(error, 'PolicyError');
  assert.deepEqual(error.errors.map(({ pointer, line, column }) => [pointer, line, column]), [
    ['/mode', 1, 10],
    ['/penalty/frist', 2, 14],
  ]);
  const [first, second] = error.message.split('\n');
  assert.equal(first, 'line 1, column 10: /mode: found 1, expected one of the words enforce, observe; write one of these words, in double quotes');
  assert.match(second, /^line 2, column 14: \/penalty\/frist: found "frist", expected one of the fields .*; did you mean "first"\?$/);
  assert.match(thrown(() => new Policy('{')).message, /^line 1, column 2: the policy: /);
});

test('a wrong argument is named as the caller wrote it', () => {
  const policy = new Policy();
  const wrong = (work, path, problem) => {
    const error = thrown(work);
    assertIs(error, 'ArgumentError');
    assert.equal(error.path, path);
    assert.ok(error.message.startsWith(path === '' ? problem : `${path}: ${problem}`), error.message);
  };
  const decide = (...values) => () => policy.decide(...values);
  wrong(decide(), 'connection', 'is missing');
  wrong(decide('x'), 'connection', 'expected an object with the fields stage, client, listener, ehloName');
  wrong(decide({ client: '::1' }), 'connection.stage', 'is missing');
  wrong(decide({ ...client, stage: 'endOfData' }), 'connection.stage', "expected one of 'greeting', 'ehlo', 'mail', 'rcpt', 'data', 'end-of-data', but found \"endOfData\"");
  wrong(decide({ ...client, ehlo_name: 'x' }), 'connection', 'there is no field "ehlo_name", expected stage, client, listener, ehloName');
  wrong(decide({ ...client, ehloName: 5 }), 'connection.ehloName', 'expected a text, but found 5');
  wrong(decide({ ...client, authenticated: 'no' }), 'connection.authenticated', 'expected true or false, but found "no"');
  wrong(decide({ ...client, now: 1.5 }), 'connection.now', 'expected a whole number from 0 to 9007199254740991, but found 1.5');
  wrong(decide({ ...client, nonce: -1 }), 'connection.nonce', 'expected a whole number from 0 to 4294967295, but found -1');
  wrong(decide({ ...client, tls: 'verified' }), 'connection.tls', "expected one of 'none', 'encrypted', {verified: …}, but found \"verified\"");
  wrong(decide({ ...client, tls: { verified: ['a', 1] } }), 'connection.tls.verified[1]', 'expected a text, but found 1');
  wrong(decide({ ...client, tls: { toString: 1 } }), 'connection.tls', 'expected one of');
  wrong(decide({ ...client, client: 'x' }), 'connection.client', '"x" is no IP address; expected one such as 192.0.2.1');
  const key = { kind: 'network', address: '2001:db8::', prefixLength: 64 };
  wrong(decide({ ...client, records: [{ key: { ...key, address: '2001::x' }, value: [] }] }), 'connection.records[0].key.address', '"2001::x" is no IP address');
  wrong(decide({ ...client, records: [{ key, value: [0, 256] }] }), 'connection.records[0].value[1]', 'expected a whole number from 0 to 255, but found 256');
  wrong(decide({ ...client, records: [{ key, value: 'x' }] }), 'connection.records[0].value', 'expected a Uint8Array or an array of octets, but found "x"');
  wrong(decide({ ...client, client: '\ud800' }), 'connection.client', '"?" is no IP address');
  wrong(decide(client, { mailFrom: '' }), 'envelope.recipients', 'is missing');
  wrong(decide(client, envelope, { ...message, size: NaN }), 'message.size', 'expected a whole number from 0 to 4294967295, but found NaN');
  wrong(decide(client, envelope, message, { dkim: {} }), 'authResults.dkim', 'expected an array, but found an object');
  wrong(decide(client, envelope, message, { dkim: [{ result: 'ok', domain: 'x' }] }), 'authResults.dkim[0].result', "expected one of 'none', 'pass'");
  wrong(() => new Policy(5), 'policy', 'expected JSON as a text, or an object, but found 5');
  wrong(() => new Policy({ toJSON: () => undefined }), 'policy', 'it cannot be written as JSON: its toJSON gives nothing');
  wrong(() => new Policy({ mode: 5n }), 'policy', 'it cannot be written as JSON: TypeError');
  wrong(() => new Policy('{}', { secrte: 'x' }), 'options', 'there is no field "secrte", expected secret');
  wrong(() => new Policy('{}', 'secret'), 'options', 'expected an object');
  wrong(() => new Policy('{}', { secret: 5 }), 'secret', 'expected a Uint8Array or an array of octets, but found 5');
  wrong(() => api.parseAddress(5), 'text', 'expected a text, but found 5');
  wrong(() => api.inspect(), 'key', 'is missing');
  wrong(() => api.parseAuthenticationResults('x', []), 'headers', 'expected an array, but found "x"');
  assert.equal(policy.decide(client).reason, 'no-policy', 'none of these did any harm');
});

test('octets of another realm are octets', () => {
  const policy = new Policy({}, { secret: runInNewContext('Uint8Array.of(1, 2, 3)') });
  const key = { kind: 'network', address: '2001:db8::', prefixLength: 64 };
  policy.keys({ ...client, records: [{ key, value: runInNewContext('Uint8Array.of(1, 2, 3)') }] });
  assertIs(thrown(() => policy.keys({ ...client, records: [{ key, value: new Uint16Array(2) }] })), 'ArgumentError');
});

test('whatever is handed over, nothing else is thrown', () => {
  const cyclic = {};
  cyclic.self = cyclic;
  const strange = [undefined, null, true, 0, -0, NaN, 1e300, 5n, '', 'x', '\udc00', Symbol('s'), () => {}, [], [[]], {}, Object.create(null), cyclic, new Map(), new Date(0)];
  strange.push(Object.freeze({ stage: 'data', client: '::1' }), new Uint8Array(3), new Float64Array(1), { toJSON: () => undefined }, { key: 1 }, { refuse: {} });
  const policy = new Policy({});
  const known = { ...client, records: [], tls: 'none' };
  let calls = 0;
  const attempt = (work) => {
    calls += 1;
    try {
      work();
    } catch (error) {
      assert.ok(error instanceof api.SmtpFallbackError && !(error instanceof api.ModuleError), String(error.stack ?? error));
    }
  };
  for (const value of strange) {
    for (const field of Object.keys(known)) {
      attempt(() => policy.decide({ ...known, [field]: value }, value, value, value));
      attempt(() => policy.explain({ ...known, [field]: value }));
    }
    for (const other of strange) {
      attempt(() => policy.decide(value, other));
      attempt(() => policy.keys(known, { mailFrom: value, recipients: [other] }, { size: value, date: other }));
      attempt(() => policy.decide(known, null, null, { dkim: [value, other], arc: { result: value, sealers: other } }));
      attempt(() => policy.decide({ ...known, records: [{ key: value, value: other }] }));
      attempt(() => policy.decide({ ...known, tls: { verified: [value, other] } }));
      attempt(() => policy.configure(value, other));
      attempt(() => policy.configure('{}', { secret: other }));
      attempt(() => new Policy(value, other).close());
      attempt(() => api.inspect({ key: value, value: other }));
      attempt(() => api.parseAuthenticationResults(value, [other]));
    }
    attempt(() => api.parseAddress(value));
    attempt(() => api.inspect(value));
  }
  assert.ok(calls > 5000, `${calls} calls`);
  policy.configure({});
  assert.equal(policy.decide(client, envelope, message, passing).verdict, 'accept');
});

test('the other functions, and their errors', () => {
  assert.equal(api.parseAddress('[IPv6:2001:DB8::25]'), '2001:db8::25');
  const error = thrown(() => api.parseAddress('x'));
  assertIs(error, 'AddressError');
  assert.match(error.message, /^"x" is no IP address; expected one such as/);
  assertIs(thrown(() => api.inspect({ key: { kind: 'network', address: '2001:db8::', prefixLength: 64 }, value: [1] })), 'RecordError');
  assert.equal(api.schema().$schema, 'https://json-schema.org/draft/2020-12/schema');
  assert.equal(api.describe().keyword, 'IPV6-IPV4-FALLBACK');
  assert.equal(api.describe().defaults.mode, 'enforce');
  assert.deepEqual(api.parseAuthenticationResults(['mx.example.org; spf=pass smtp.mailfrom=example.net'], ['mx.example.org']), {
    spfMailFrom: { result: 'pass', domain: 'example.net' },
    spfHelo: null,
    dkim: null,
    dmarc: null,
    arc: null,
    iprev: null,
  });
});

test('closed is closed', () => {
  const policy = new Policy({});
  const other = new Policy({});
  policy.close();
  policy.close();
  for (const work of [() => policy.decide(client), () => policy.keys(client), () => policy.explain(client), () => policy.configure({})]) {
    assertIs(thrown(work), 'ClosedError');
  }
  assert.equal(other.decide(client, envelope, message, passing).verdict, 'accept');
  assert.equal(api.describe().contract, '0.1.0');
  const disposed = new Policy({});
  disposed[Symbol.dispose]();
  assertIs(thrown(() => disposed.decide(client)), 'ClosedError');
});

test('one of each class, by require and by import', async () => {
  const imported = await import(join(consumer, 'imported.mjs'));
  assert.deepEqual(Object.keys(imported).sort(), Object.keys(api).sort());
  for (const name of Object.keys(api)) {
    assert.equal(imported[name], api[name], name);
  }
});

test('the entry for browsers offers the same', () => {
  const browser = readFileSync(join(consumer, 'node_modules/smtp-fallback-policy/browser.js'), 'utf8');
  const names = [...browser.matchAll(/export \{([^}]*)\}/g)].flatMap(([, list]) => list.split(',').map((name) => name.trim()).filter(Boolean));
  assert.deepEqual(names.sort(), Object.keys(api).sort());
});

test('the package has no dependency, and its files are those that are meant', () => {
  const folder = join(consumer, 'node_modules/smtp-fallback-policy');
  const description = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  assert.equal(description.dependencies, undefined);
  const modules = ['bindings', 'contract', 'convert', 'errors', 'policy'].flatMap((name) => [`${name}.cjs`, `${name}.js`]);
  assert.deepEqual(readdirSync(join(folder, 'lib')).sort(), modules);
  assert.deepEqual(readdirSync(folder).sort(), [
    ...['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'browser.js', 'contract.d.cts', 'contract.d.ts', 'index.d.cts', 'index.d.ts', 'lib'],
    ...['node.cjs', 'node.js', 'package.json', 'smtp-fallback-policy.wasm'],
  ]);
});

test('the example of the README runs', () => {
  const readme = readFileSync(join(checkout, 'bindings/js/README.md'), 'utf8');
  const [, example] = /```js\n([\s\S]*?)```/.exec(readme);
  const [, printed] = /prints\n\n```\n([\s\S]*?)```/.exec(readme);
  const file = join(consumer, 'example.mjs');
  writeFileSync(file, example);
  assert.equal(execFileSync(process.execPath, [file], { encoding: 'utf8' }), printed);
});
