// Runs a vector on a face of the module, as tests/vectors/README.md tells. Without anything of Node: browsers run it too.

/** The secret that a vector without one is configured with. */
const SECRET = '0123456789abcdef';

/** Runs all steps. Returns what was another outcome than expected, or null. */
export function run(face, vector) {
  if (vector.policy !== undefined) {
    const { err } = face.configure(JSON.stringify(vector.policy), vector.secret ?? SECRET);
    if (err !== undefined) {
      throw new Error(`its policy is no policy: ${JSON.stringify(err)}`);
    }
  }
  const kept = new Map();
  let calls = 0;
  for (const [index, step] of vector.steps.entries()) {
    for (let time = 0; time < (step.times ?? 1); time += 1) {
      calls += 1;
      const input = merged(vector.given ?? {}, step.input ?? {});
      numberMessage(input, calls);
      const found = withoutNulls(call(face, step, input, kept));
      const expected = withoutNulls(step.expect);
      if (!same(found, expected)) {
        return `step ${index + 1}:\n  found    ${JSON.stringify(found)}\n  expected ${JSON.stringify(expected)}`;
      }
    }
  }
  return null;
}

function call(face, step, input, kept) {
  const { connection, envelope, message, 'auth-results': results } = input;
  switch (step.call) {
    case 'configure':
      return face.configure(input['policy-json'], input.secret ?? SECRET);
    case 'describe':
      return face.describe();
    case 'keys':
      return face.keys(connection, envelope, message);
    case 'decide': {
      lookUp(face, kept, connection, envelope, message);
      const decision = face.decide(connection, envelope, message, results);
      for (const record of decision.records) {
        kept.set(name(record.key), { key: record.key, value: record.value, expires: connection.now + record['expires-in'] });
      }
      return compared(decision);
    }
    case 'explain': {
      lookUp(face, kept, connection, envelope, message);
      const told = face.explain(connection, envelope, message, results);
      return step.expect.filter((text) => told.includes(text));
    }
    case 'parse-address':
      return face.parseAddress(input.text);
    case 'inspect': {
      const key = input.kind === undefined ? input.key : only(kept, input.kind);
      const value = input.value ?? kept.get(name(key))?.value;
      if (value === undefined) {
        throw new Error(`no record ${name(key)}`);
      }
      return face.inspect({ key, value });
    }
    case 'parse-authentication-results':
      return face.parseAuthenticationResults(input.headers, input['trusted-ids']);
    default:
      throw new Error(`there is no call ${JSON.stringify(step.call)}`);
  }
}

/** A key as a text. */
function name(key) {
  return `${key.kind} ${key.address}/${key['prefix-length']}`;
}

/** Hands over the records that the module asks for, in two rounds at most, as a host does. */
function lookUp(face, kept, connection, envelope, message) {
  const given = connection.records.map((record) => name(record.key));
  const asked = new Set();
  connection.records = [...connection.records];
  for (let round = 0; round < 2; round += 1) {
    const fresh = face.keys(connection, envelope, message).filter((key) => !asked.has(name(key)));
    for (const key of fresh) {
      asked.add(name(key));
      const record = kept.get(name(key));
      if (record !== undefined && record.expires > connection.now && !given.includes(name(key))) {
        connection.records.push({ key, value: record.value });
      }
    }
    if (fresh.length === 0) {
      break;
    }
  }
}

/** The key of this kind, of which there is one. */
function only(kept, kind) {
  const records = [...kept.values()].filter((record) => record.key.kind === kind);
  if (records.length !== 1) {
    throw new Error(`${records.length} records of kind ${kind}, expected one`);
  }
  return records[0].key;
}

/** The decision as it is compared: a record by its key alone, that of a mail by its kind. */
function compared(decision) {
  const isMail = (kind) => kind === 'exact' || kind === 'inferred';
  const records = decision.records.map(({ key }) => (isMail(key.kind) ? { kind: key.kind } : key));
  return { ...decision, records };
}

/** Puts the number of the call in for `{n}` in the Message-ID, so that each call is about another mail. */
function numberMessage(input, number) {
  if (typeof input.message?.['message-id'] === 'string') {
    input.message = { ...input.message, 'message-id': input.message['message-id'].replaceAll('{n}', String(number)) };
  }
}

const isRecord = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The input of a step over that of the vector, record by record, field by field. */
function merged(given, input) {
  const all = { ...given };
  for (const [field, value] of Object.entries(input)) {
    all[field] = isRecord(all[field]) && isRecord(value) ? { ...all[field], ...value } : value;
  }
  return isRecord(all.connection) ? { ...all, connection: { ...all.connection } } : all;
}

/** Absent is null or missing. */
function withoutNulls(value) {
  if (Array.isArray(value)) {
    return value.map(withoutNulls);
  }
  if (!isRecord(value)) {
    return value;
  }
  const present = Object.entries(value).filter(([, field]) => field !== null && field !== undefined);
  return Object.fromEntries(present.map(([field, of]) => [field, withoutNulls(of)]));
}

function same(one, other) {
  if (Array.isArray(one) || Array.isArray(other)) {
    return Array.isArray(one) && Array.isArray(other) && one.length === other.length && one.every((item, index) => same(item, other[index]));
  }
  if (!isRecord(one) || !isRecord(other)) {
    return one === other;
  }
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((field) => Object.hasOwn(other, field) && same(one[field], other[field]));
}

/** Runs all vectors, each on a face of its own: `{passed, failures}`. */
export function runAll(makeFace, vectors) {
  const failures = [];
  for (const { file, vector } of vectors) {
    const face = makeFace();
    try {
      const failure = run(face, vector);
      if (failure !== null) {
        failures.push(`${file}, ${failure}`);
      }
    } catch (error) {
      failures.push(`${file}: ${error.stack ?? error}`);
    } finally {
      face.close();
    }
  }
  return { passed: vectors.length - failures.length, failures };
}
