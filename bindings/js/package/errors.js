// The errors that users catch. All of them are `SmtpFallbackError`.

export class SmtpFallbackError extends Error {
  get name() {
    return 'SmtpFallbackError';
  }
}

/** The policy has errors. The one before stays in force. */
export class PolicyError extends SmtpFallbackError {
  constructor(errors) {
    super(errors.map(line).join('\n'));
    this.errors = errors;
  }

  get name() {
    return 'PolicyError';
  }
}

/** An error in a policy, in the words of the other hosts. */
function line({ pointer, line, column, found, expected, advice }) {
  return `line ${line}, column ${column}: ${pointer === '' ? 'the policy' : pointer}: found ${found}, expected ${expected}; ${advice}`;
}

/** An argument that the function cannot take: a mistake in the calling program. */
export class ArgumentError extends SmtpFallbackError {
  constructor(path, problem) {
    super(path === '' ? problem : `${path}: ${problem}`);
    this.path = path;
  }

  get name() {
    return 'ArgumentError';
  }
}

/** A text that is no address. */
export class AddressError extends SmtpFallbackError {
  get name() {
    return 'AddressError';
  }
}

/** Octets that are no record. */
export class RecordError extends SmtpFallbackError {
  get name() {
    return 'RecordError';
  }
}

/** A call on a policy that was closed. */
export class ClosedError extends SmtpFallbackError {
  get name() {
    return 'ClosedError';
  }
}

/** The WebAssembly instance failed. It was replaced. */
export class ModuleError extends SmtpFallbackError {
  get name() {
    return 'ModuleError';
  }
}
