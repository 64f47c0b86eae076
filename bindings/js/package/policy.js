// The module as users see it. `start` is called by the entry points, once.
import { AddressError, ArgumentError, ClosedError, ModuleError, PolicyError, RecordError } from './errors.js';
import { border, examining } from './convert.js';
import { bindings } from './bindings.js';

let compiled;
let current = null;

/** Hands over the compiled module. */
export function start(module) {
  compiled = module;
  current = null;
}

/** The WebAssembly instance in which all policies live. */
function instance() {
  if (current === null) {
    const { Raw, setWasm, imports } = bindings();
    const { exports } = new WebAssembly.Instance(compiled, imports);
    setWasm(exports);
    exports.__wbindgen_start();
    current = { Raw, setWasm, common: null };
  }
  return current;
}

/** What stays of an instance that failed: nothing that the garbage collector's call-backs could call. */
const REMAINS = { __wbg_raw_free() {} };

/** An instance is not to be used after a failure; the next call makes a fresh one. */
function bury(failed) {
  failed.setWasm(REMAINS);
  if (current === failed) {
    current = null;
  }
}

/**
 * Does something in this instance. The module throws a text for a call that cannot be made; anything else is a trap, or a stack that was full
 * in the midst of a call, and nobody knows what it left half done.
 */
function guarded(where, what, work) {
  try {
    return work();
  } catch (error) {
    if (typeof error === 'string') {
      throw error;
    }
    bury(where);
    throw new ModuleError(
      `the module failed in ${what} (${error}); a fresh instance with the same policy takes its place, and answers the next call`,
      { cause: error },
    );
  }
}

/** A new object in this instance, without a policy. */
function raw(where) {
  return guarded(where, 'its constructor', () => new where.Raw());
}

/** Calls the function, with arguments in JSON. */
function invoke(where, object, { function: name, write }, text, values) {
  try {
    return guarded(where, name, () => JSON.parse(object.call(name, text)));
  } catch (error) {
    throw typeof error === 'string' ? refused(object, error, () => write(values)) : error;
  }
}

/** The error for a call that the module does not take: as a rule for an address, which only the module can read. */
function refused(object, problem, write) {
  try {
    examining((text) => JSON.parse(object.call('parse-address', `{"text":${text}}`)).err, write);
  } catch (error) {
    return error;
  }
  return new ArgumentError('', problem);
}

const encoder = new TextEncoder();
const CONFIGURE = border('configure');
const KEYS = border('keys');
const DECIDE = border('decide');
const EXPLAIN = border('explain');

export class Policy {
  #where = null;
  #raw = null;
  #closed = false;
  /** The policy in force as it was configured, for a fresh instance; null without one. */
  #inForce = null;
  #summary = null;
  /** It is the policy's for life, unless another is given: else refused mail would no longer be recognised. */
  #secret = '';

  constructor(policy, options) {
    if (policy === undefined || policy === null) {
      const secret = this.#secretOf(options);
      // Written for its checks.
      CONFIGURE.write(['', secret]);
      this.#secret = Array.from(secret);
    } else {
      this.configure(policy, options);
    }
  }

  get summary() {
    return this.#summary;
  }

  configure(policy, options) {
    const secret = this.#secretOf(options);
    const values = [policyText(policy), secret];
    const text = CONFIGURE.write(values);
    const { ok, err } = this.#answer(CONFIGURE, text, values);
    if (err !== undefined) {
      throw new PolicyError(err);
    }
    this.#inForce = text;
    this.#secret = Array.from(secret);
    this.#summary = CONFIGURE.read(ok);
    return this.#summary;
  }

  keys(connection, envelope, message) {
    return this.#call(KEYS, [connection, envelope, message]);
  }

  decide(connection, envelope, message, authResults) {
    return this.#call(DECIDE, [connection, envelope, message, authResults]);
  }

  explain(connection, envelope, message, authResults) {
    return this.#call(EXPLAIN, [connection, envelope, message, authResults]);
  }

  close() {
    const [object, where] = [this.#raw, this.#where];
    this.#closed = true;
    this.#raw = null;
    this.#where = null;
    this.#inForce = null;
    // Of an instance that failed nothing is left that could be called.
    if (object !== null) {
      guarded(where, 'close', () => object.free());
    }
  }

  /** The secret that is given, or the one before. */
  #secretOf(options) {
    checkOptions(options);
    const secret = options?.secret ?? this.#secret;
    return typeof secret === 'string' ? encoder.encode(secret) : secret;
  }

  #call(called, values) {
    return called.read(this.#answer(called, called.write(values), values));
  }

  #answer(called, text, values) {
    const object = this.#ready();
    return invoke(this.#where, object, called, text, values);
  }

  /** This policy in the current instance: where that is a fresh one, configured anew. */
  #ready() {
    if (this.#closed) {
      throw new ClosedError('this policy was closed; make a new one');
    }
    const where = instance();
    if (this.#where !== where) {
      this.#raw = raw(where);
      this.#where = where;
      if (this.#inForce !== null) {
        invoke(where, this.#raw, CONFIGURE, this.#inForce, []);
      }
    }
    return this.#raw;
  }
}

// Node 20.0 and older browsers do not know it.
if (Symbol.dispose !== undefined) {
  Policy.prototype[Symbol.dispose] = Policy.prototype.close;
}

function policyText(policy) {
  if (typeof policy === 'string') {
    return policy;
  }
  if (typeof policy !== 'object' || policy === null || Array.isArray(policy)) {
    throw new ArgumentError('policy', `expected JSON as a text, or an object, but found ${Array.isArray(policy) ? 'an array' : String(policy)}`);
  }
  let text;
  let problem = 'its toJSON gives nothing';
  try {
    text = JSON.stringify(policy);
  } catch (error) {
    problem = error;
  }
  if (text === undefined) {
    throw new ArgumentError('policy', `it cannot be written as JSON: ${problem}`);
  }
  return text;
}

function checkOptions(options) {
  if (options === undefined || options === null) {
    return;
  }
  if (typeof options !== 'object') {
    throw new ArgumentError('options', `expected an object with the field secret, but found ${String(options)}`);
  }
  for (const name in options) {
    if (name !== 'secret') {
      throw new ArgumentError('options', `there is no field ${JSON.stringify(name)}, expected secret`);
    }
  }
}

/** A function that needs no policy. */
function free(name) {
  const called = border(name);
  return (values) => {
    const text = called.write(values);
    const where = instance();
    where.common ??= raw(where);
    return { called, answer: invoke(where, where.common, called, text, values) };
  };
}

const PARSE_ADDRESS = free('parseAddress');
const INSPECT = free('inspect');
const PARSE_AUTHENTICATION_RESULTS = free('parseAuthenticationResults');
const SCHEMA = free('schema');
const DESCRIBE = free('describe');

export function parseAddress(text) {
  const { ok, err } = PARSE_ADDRESS([text]).answer;
  if (err !== undefined) {
    throw new AddressError(err);
  }
  return ok;
}

export function inspect(record) {
  const { called, answer } = INSPECT([record?.key, record?.value]);
  if (answer.err !== undefined) {
    throw new RecordError(answer.err);
  }
  return called.read(answer.ok);
}

export function parseAuthenticationResults(headers, trustedIds) {
  const { called, answer } = PARSE_AUTHENTICATION_RESULTS([headers, trustedIds]);
  return called.read(answer);
}

export function schema() {
  const { called, answer } = SCHEMA([]);
  return called.read(answer);
}

export function describe() {
  const { called, answer } = DESCRIBE([]);
  return called.read(answer);
}
