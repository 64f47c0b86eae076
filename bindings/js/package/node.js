// What `require` gives, for `import`: so that there is one of each class in a program that does both.
import api from './node.cjs';

export const {
  Policy,
  describe,
  inspect,
  parseAddress,
  parseAuthenticationResults,
  schema,
  AddressError,
  ArgumentError,
  ClosedError,
  ModuleError,
  PolicyError,
  RecordError,
  SmtpFallbackError,
} = api;
