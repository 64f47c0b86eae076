// The component by jco as a face: its values are those of the contract, with addresses of four words, variants with a tag, and 64 bits as bigint.
import { camel, kebab } from './names.mjs';

const fields = (record, change) => Object.fromEntries(Object.entries(record).map(([name, value]) => change(name, value)));
const absent = (value) => value === undefined || value === null;

/** A record whose fields are texts, numbers, lists, or records of such. */
function plain(value) {
  if (absent(value)) {
    return undefined;
  }
  if (typeof value !== 'object') {
    return value;
  }
  return Array.isArray(value) ? value.map(plain) : fields(value, (name, field) => [camel(name), plain(field)]);
}

const variant = (value) => (typeof value === 'string' ? { tag: value } : { tag: Object.keys(value)[0], val: Object.values(value)[0] });

/** Turns arguments in the vectors' mapping into jco's. */
function making(policy) {
  const key = (value) => ({ ...plain(value), address: policy.parseAddress(value.address) });
  const record = ({ key: of, value }) => ({ key: key(of), value: Uint8Array.from(value) });
  const connection = (value) => ({
    ...plain({ ...value, records: [] }),
    client: policy.parseAddress(value.client),
    tls: variant(value.tls),
    now: BigInt(value.now),
    records: value.records.map(record),
  });
  return { record, arguments: (first, ...others) => [connection(first), ...others.map(plain)] };
}

/** An address as text (RFC 5952). */
export function address({ w0, w1, w2, w3 }) {
  if (w0 === 0 && w1 === 0 && w2 === 0xffff) {
    return [24, 16, 8, 0].map((bits) => (w3 >>> bits) & 0xff).join('.');
  }
  const groups = [w0, w1, w2, w3].flatMap((word) => [word >>> 16, word & 0xffff]);
  let [start, length] = [0, 1];
  for (let from = 0; from < 8; from += 1) {
    const zeros = groups.slice(from).findIndex((group) => group !== 0);
    const found = zeros === -1 ? 8 - from : zeros;
    if (found > length) {
      [start, length] = [from, found];
    }
  }
  const text = (part) => part.map((group) => group.toString(16)).join(':');
  return length < 2 ? text(groups) : `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

/** A result in the vectors' mapping. */
function outcome(value) {
  if (typeof value === 'bigint') {
    return Number(value);
  }
  if (value instanceof Uint8Array) {
    return [...value];
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(outcome);
  }
  if ('tag' in value) {
    return value.val === undefined ? value.tag : { [value.tag]: outcome(value.val) };
  }
  return 'w0' in value ? address(value) : fields(value, (name, field) => [kebab(name), outcome(field)]);
}

function result(work) {
  try {
    return { ok: work() };
  } catch (error) {
    if ('payload' in error) {
      return { err: outcome(error.payload) };
    }
    throw error;
  }
}

const encoder = new TextEncoder();

/** A face with a policy of its own. */
export function jcoFace({ load }) {
  const policy = load();
  const make = making(policy);
  return {
    configure: (policyJson, secret) => result(() => outcome(policy.configure(policyJson, encoder.encode(secret)))),
    describe: () => ({ ...outcome(policy.describe()), defaults: JSON.parse(policy.describe().defaults) }),
    keys: (...values) => outcome(policy.keys(...make.arguments(...values))),
    decide: (...values) => outcome(policy.decide(...make.arguments(...values))),
    explain: (...values) => policy.explain(...make.arguments(...values)),
    parseAddress: (text) => result(() => outcome(policy.parseAddress(text))),
    inspect: (record) => result(() => JSON.parse(policy.inspect(make.record(record)))),
    parseAuthenticationResults: (headers, ids) => outcome(policy.parseAuthenticationResults(headers, ids)),
    close: () => {},
  };
}

/** What `bench` calls, with arguments made before. */
export function jcoBench({ load }, policyJson, secret) {
  const policy = load();
  policy.configure(policyJson, encoder.encode(secret));
  const make = making(policy);
  const list = ({ connection, envelope, message, 'auth-results': results }) => make.arguments(connection, envelope, message, results);
  return (keys, decide) => {
    const [[kc, ke, km], [dc, de, dm, dr]] = [list(keys), list(decide)];
    return {
      pair: () => {
        policy.keys(kc, ke, km);
        return policy.decide(dc, de, dm, dr);
      },
      verdict: ({ verdict }) => verdict.tag,
    };
  };
}
