// A WebAssembly instance that fails is dead. Another takes its place, with the same policies.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { client, envelope, failing, message, passing, require } from './installed.mjs';

/** A module whose one function traps: (module (func (export "trap") unreachable)). */
const TRAP = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 8, 1, 4, 116, 114, 97, 112, 0, 0, 10, 5, 1, 3, 0, 0, 11);
const { trap } = new WebAssembly.Instance(new WebAssembly.Module(TRAP)).exports;

/** How many instances were made, how many objects freed, and whether the next call is to trap. */
const seen = { instances: 0, freed: 0, trap: false };

const { Instance } = WebAssembly;
WebAssembly.Instance = function instance(...values) {
  seen.instances += 1;
  const { exports } = new Instance(...values);
  const call = (...args) => (seen.trap ? trap() : exports.raw_call(...args));
  const free = (...args) => {
    seen.freed += 1;
    return exports.__wbg_raw_free(...args);
  };
  return { exports: { ...exports, raw_call: call, __wbg_raw_free: free } };
};

const { ClosedError, ModuleError, Policy, SmtpFallbackError, describe } = require('smtp-fallback-policy');

function trapping(work) {
  seen.trap = true;
  try {
    assert.throws(work, (error) => {
      assert.ok(error instanceof ModuleError && error instanceof SmtpFallbackError);
      assert.ok(error.cause instanceof WebAssembly.RuntimeError);
      assert.match(error.message, /^the module failed in [a-z]+ \(RuntimeError: unreachable\); a fresh instance with the same policy takes its place/);
      return true;
    });
  } finally {
    seen.trap = false;
  }
}

test('after a trap all policies go on in a fresh instance', () => {
  const refuses = new Policy({ url: 'https://example.org/a' }, { secret: '0123456789abcdef' });
  const observes = new Policy({ mode: 'observe' });
  const none = new Policy();
  const before = refuses.decide(client, envelope, message, failing);
  const made = seen.instances;
  trapping(() => refuses.decide(client, envelope, message, failing));
  assert.equal(seen.instances, made, 'a fresh one is made when it is needed');
  assert.deepEqual(refuses.decide(client, envelope, message, failing), before, 'with the same policy and secret');
  assert.equal(observes.decide(client, envelope, message, failing).verdict, 'accept');
  assert.equal(observes.summary.mode, 'observe');
  assert.equal(none.decide(client).reason, 'no-policy');
  assert.equal(describe().contract, '0.1.0');
  assert.equal(seen.instances, made + 1, 'one for all');
  trapping(() => describe());
  assert.deepEqual(refuses.decide(client, envelope, message, failing), before);
  assert.equal(seen.instances, made + 2);
});

test('a policy of a dead instance can be closed', () => {
  const policy = new Policy({});
  trapping(() => policy.keys(client));
  const { freed } = seen;
  policy.close();
  assert.equal(seen.freed, freed, 'there is nothing to free');
  assert.throws(() => policy.decide(client), ClosedError);
});

test('a trap in configure leaves the policy that was in force', () => {
  const policy = new Policy({ mode: 'observe' });
  trapping(() => policy.configure({}));
  assert.equal(policy.summary.mode, 'observe');
  assert.equal(policy.decide(client, envelope, message, failing).verdict, 'accept');
});

test('policies that nobody holds are freed, in a live instance only', async () => {
  const make = (count) => {
    for (let index = 0; index < count; index += 1) {
      new Policy({});
    }
  };
  const collected = async () => {
    for (let round = 0; round < 20; round += 1) {
      globalThis.gc();
      await setImmediate();
    }
  };
  const { freed } = seen;
  make(50);
  await collected();
  assert.ok(seen.freed > freed + 40, `only ${seen.freed - freed} were freed`);
  make(50);
  const policy = new Policy({});
  trapping(() => policy.decide(client));
  const since = seen.freed;
  await collected();
  assert.equal(seen.freed, since, 'nobody calls into a dead instance');
  assert.equal(policy.decide(client, envelope, message, passing).verdict, 'accept');
});

test('a stack that is full in the midst of a call does no lasting harm', () => {
  const policy = new Policy({}, { secret: '0123456789abcdef' });
  const before = policy.decide(client, envelope, message, failing);
  let failures = 0;
  let strange = null;
  const deeper = () => {
    try {
      deeper();
    } catch {
      // As near the end of the stack as can be.
    }
    try {
      policy.decide(client, envelope, message, failing);
    } catch (error) {
      failures += 1;
      strange = error instanceof RangeError || error instanceof ModuleError ? strange : error;
      throw error;
    }
  };
  deeper();
  assert.equal(strange, null);
  assert.ok(failures > 0, 'the stack was full at least once');
  assert.deepEqual(policy.decide(client, envelope, message, failing), before);
});
