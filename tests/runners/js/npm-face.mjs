// The npm package as a face: values in the vectors' mapping become those of its users, and back.
import { camel, kebab } from './names.mjs';

function renamed(value, rename) {
  if (value instanceof Uint8Array) {
    return [...value];
  }
  if (Array.isArray(value)) {
    return value.map((item) => renamed(item, rename));
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [rename(name), renamed(field, rename)]));
}

/** Arguments as a user writes them. Octets may stay numbers, or be a Uint8Array. */
export function argument(value) {
  return renamed(value, camel);
}

const outcome = (value) => renamed(value, kebab);

/** What the function returns, or the errors of this class that it throws. */
function result(work, thrown, payload) {
  try {
    return { ok: outcome(work()) };
  } catch (error) {
    if (error instanceof thrown) {
      return { err: payload(error) };
    }
    throw error;
  }
}

/** A face with a policy of its own. */
export function npmFace(api) {
  const policy = new api.Policy();
  return {
    configure: (policyJson, secret) => result(() => policy.configure(policyJson, { secret }), api.PolicyError, (error) => error.errors),
    describe: () => outcome(api.describe()),
    keys: (...values) => outcome(policy.keys(...values.map(argument))),
    decide: (...values) => outcome(policy.decide(...values.map(argument))),
    explain: (...values) => policy.explain(...values.map(argument)),
    parseAddress: (text) => result(() => api.parseAddress(text), api.AddressError, (error) => error.message),
    inspect: (record) => result(() => api.inspect(argument(record)), api.RecordError, (error) => error.message),
    parseAuthenticationResults: (headers, ids) => outcome(api.parseAuthenticationResults(headers, ids)),
    close: () => policy.close(),
  };
}

/** What `bench` calls, with arguments made before. */
export function npmBench(api, policyJson, secret) {
  const policy = new api.Policy(policyJson, { secret });
  const octets = (connection) => ({ ...connection, records: connection.records.map(({ key, value }) => ({ key, value: Uint8Array.from(value) })) });
  return (keys, decide) => {
    const [k, d] = [argument(keys), argument(decide)];
    const [kc, dc] = [octets(k.connection), octets(d.connection)];
    return {
      pair: () => {
        policy.keys(kc, k.envelope, k.message);
        return policy.decide(dc, d.envelope, d.message, d.authResults);
      },
      verdict: ({ verdict }) => (typeof verdict === 'string' ? verdict : Object.keys(verdict)[0]),
    };
  };
}
