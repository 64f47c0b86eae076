// Values of JavaScript to the JSON that the module reads, and back. The shapes are those of contract.js: each becomes a function once, when it
// is first needed, and what a caller has written wrongly is said in the caller's own names.
import { ArgumentError } from './errors.js';
import { FUNCTIONS, TYPES } from './contract.js';

/** What a value is not. Records and lists that it stands in add where it was. */
class Mismatch {
  constructor(problem) {
    this.problem = problem;
    this.path = '';
  }

  within(step) {
    this.path = this.path === '' || this.path.startsWith('[') ? step + this.path : `${step}.${this.path}`;
    return this;
  }
}

function expected(what, found) {
  return new Mismatch(`expected ${what}, but found ${shown(found)}`);
}

/** A value in an error: short, whatever it is. */
function shown(value) {
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  }
  if (Array.isArray(value)) {
    return 'an array';
  }
  return typeof value === 'object' && value !== null ? 'an object' : String(value).slice(0, 60);
}

/** `list<spf>` is `spf` for `list`, anything else is not. */
function inner(type, outer) {
  return type.startsWith(`${outer}<`) ? type.slice(outer.length + 1, -1) : undefined;
}

const writers = new Map();
const readers = new Map();

/** A function from values of this type to JSON text. */
function writer(type) {
  return remembered(writers, type, makeWriter);
}

/** A function from parsed JSON to values of this type, or null where they are the same. */
function reader(type) {
  return remembered(readers, type, makeReader);
}

function remembered(functions, type, make) {
  if (!functions.has(type)) {
    functions.set(type, make(type));
  }
  return functions.get(type);
}

/** Looks at each address while it is written, when the module has refused one of them. */
let examine = null;

/** Texts without anything to escape, which most are: less than half the time of JSON.stringify. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/**
 * Half of a character that UTF-16 has in two, which is no Unicode. It counts as U+FFFD, as in hosts in other languages: a client's text that was
 * cut there is no mistake of the caller, and no reason to let its mail pass.
 */
const HALF = /[\ud800-\udfff]/gu;

function quoted(text) {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text.replace(HALF, '\ufffd'));
}

const SIMPLE = {
  bool(value) {
    if (typeof value !== 'boolean') {
      throw expected('true or false', value);
    }
    return value ? 'true' : 'false';
  },
  string(value) {
    if (typeof value !== 'string') {
      throw expected('a text', value);
    }
    return quoted(value);
  },
  address(value) {
    if (typeof value !== 'string') {
      throw expected('an IP address as a text', value);
    }
    const text = quoted(value);
    const problem = examine === null ? undefined : examine(text);
    if (problem !== undefined) {
      throw new Mismatch(problem);
    }
    return text;
  },
  u8: integer(0xff),
  u16: integer(0xffff),
  u32: integer(0xffffffff),
  u64: integer(Number.MAX_SAFE_INTEGER),
  'list<u8>'(value) {
    if (isOctets(value)) {
      return `[${value.join(',')}]`;
    }
    if (!Array.isArray(value)) {
      throw expected('a Uint8Array or an array of octets', value);
    }
    return writeItems(value, SIMPLE.u8);
  },
};

/** A Uint8Array, also one of another realm: test runners give their programs classes of their own. */
function isOctets(value) {
  return ArrayBuffer.isView(value) && value[Symbol.toStringTag] === 'Uint8Array';
}

function integer(most) {
  return (value) => {
    if (!Number.isInteger(value) || value < 0 || value > most) {
      throw expected(`a whole number from 0 to ${most}`, value);
    }
    return String(value);
  };
}

function makeWriter(type) {
  if (Object.hasOwn(SIMPLE, type)) {
    return SIMPLE[type];
  }
  const item = inner(type, 'list');
  if (item !== undefined) {
    const write = writer(item);
    return (value) => {
      if (!Array.isArray(value)) {
        throw expected('an array', value);
      }
      return writeItems(value, write);
    };
  }
  const shape = TYPES[type];
  if (shape.enum !== undefined) {
    return enumWriter(shape.enum);
  }
  return shape.variant !== undefined ? variantWriter(shape.variant) : recordWriter(shape.record);
}

function writeItems(items, write) {
  let text = '[';
  for (let index = 0; index < items.length; index += 1) {
    try {
      text += index === 0 ? write(items[index]) : `,${write(items[index])}`;
    } catch (error) {
      throw error instanceof Mismatch ? error.within(`[${index}]`) : error;
    }
  }
  return `${text}]`;
}

function enumWriter(words) {
  const texts = new Map(words.map((word) => [word, JSON.stringify(word)]));
  return (value) => {
    const text = texts.get(value);
    if (text === undefined) {
      throw expected(`one of ${words.map((word) => `'${word}'`).join(', ')}`, value);
    }
    return text;
  };
}

function variantWriter(cases) {
  const names = Object.keys(cases).map((name) => (cases[name] === null ? `'${name}'` : `{${name}: …}`));
  const isCase = (name, withValue) => Object.hasOwn(cases, name) && (cases[name] !== null) === withValue;
  return (value) => {
    if (typeof value === 'string' && isCase(value, false)) {
      return JSON.stringify(value);
    }
    const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    if (keys.length !== 1 || !isCase(keys[0], true)) {
      throw expected(`one of ${names.join(', ')}`, value);
    }
    try {
      return `{"${keys[0]}":${writer(cases[keys[0]])(value[keys[0]])}}`;
    } catch (error) {
      throw error instanceof Mismatch ? error.within(keys[0]) : error;
    }
  };
}

/** Of each field its name, what stands before its value in JSON, and what stands there without a value. */
function recordWriter(record) {
  const fields = Object.entries(record).map(([name, { in: written, type, otherwise }], index) => {
    const optional = inner(type, 'option');
    const absent = optional === undefined ? otherwise : null;
    const head = `${index === 0 ? '' : ','}"${written}":`;
    return { name, head, write: writer(optional ?? type), absent: absent === undefined ? undefined : head + JSON.stringify(absent) };
  });
  const known = new Set(fields.map((field) => field.name));
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw expected(`an object with the fields ${[...known].join(', ')}`, value);
    }
    for (const name in value) {
      if (!known.has(name)) {
        throw new Mismatch(`there is no field ${shown(name)}, expected ${[...known].join(', ')}`);
      }
    }
    let text = '{';
    for (const field of fields) {
      text += writeField(field, value[field.name]);
    }
    return `${text}}`;
  };
}

function writeField(field, value) {
  if (value === undefined || value === null) {
    if (field.absent === undefined) {
      throw new Mismatch('is missing').within(field.name);
    }
    return field.absent;
  }
  try {
    return field.head + field.write(value);
  } catch (error) {
    throw error instanceof Mismatch ? error.within(field.name) : error;
  }
}

function makeReader(type) {
  if (type === 'list<u8>') {
    return (value) => Uint8Array.from(value);
  }
  if (type === 'json') {
    return (value) => JSON.parse(value);
  }
  if (Object.hasOwn(SIMPLE, type)) {
    return null;
  }
  const optional = inner(type, 'option');
  if (optional !== undefined) {
    return reader(optional);
  }
  const item = inner(type, 'list');
  if (item !== undefined) {
    const read = reader(item);
    return read === null ? null : (value) => value.map(read);
  }
  const shape = TYPES[type];
  if (shape.enum !== undefined) {
    return null;
  }
  return shape.variant !== undefined ? variantReader(shape.variant) : recordReader(shape.record);
}

function variantReader(cases) {
  return (value) => {
    if (typeof value === 'string') {
      return value;
    }
    const [name] = Object.keys(value);
    const read = reader(cases[name]);
    return read === null ? value : { [name]: read(value[name]) };
  };
}

function recordReader(record) {
  const fields = Object.entries(record).map(([name, { in: written, type }]) => ({ name, written, read: reader(type) }));
  return (json) => {
    const value = {};
    for (const { name, written, read } of fields) {
      const field = json[written];
      value[name] = field === null || field === undefined || read === null ? (field ?? null) : read(field);
    }
    return value;
  };
}

/** What is needed to call this function: its arguments as JSON, and its result. */
export function border(name) {
  const { in: written, parameters, result } = FUNCTIONS[name];
  const write = recordWriter(parameters);
  const names = Object.keys(parameters);
  const read = reader(inner(result, 'result')?.split(',')[0] ?? result);
  return {
    function: written,
    /** Writes them. Throws ArgumentError for one that is not what the function takes. */
    write(values) {
      const given = {};
      for (let index = 0; index < names.length; index += 1) {
        given[names[index]] = values[index];
      }
      try {
        return write(given);
      } catch (error) {
        throw error instanceof Mismatch ? new ArgumentError(error.path, error.problem) : error;
      }
    },
    /** Reads the result from parsed JSON; of a function that can fail from `ok`. */
    read: read ?? ((value) => value),
  };
}

/** Runs `work`, during which each address that is written goes to `check` as JSON, which returns what is wrong with it, if anything is. */
export function examining(check, work) {
  examine = check;
  try {
    return work();
  } finally {
    examine = null;
  }
}
