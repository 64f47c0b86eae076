/// <reference lib="esnext.disposable" />
import type {
  Address,
  AuthResults,
  Deciding,
  Description,
  PolicyProblem,
  StoredRecord,
  Summary,
} from './contract.js';

export type * from './contract.js';

/** What a policy is configured with, beside its text. */
export interface PolicyOptions {
  /**
   * Keys the hashes of networks and mails (A33, A35): at best 16 random octets or more, shared by all hosts that share records, and never from the
   * policy file. Of a text its octets in UTF-8 count. Without one that of the
   * policy before; with none at all no mail is recognised, and a warning says so.
   */
  secret?: string | Uint8Array | readonly number[] | null;
}

/**
 * The module with one policy. Any number of them may be open at a time; each takes some kilobytes of WebAssembly's memory until it is closed or
 * collected.
 *
 * `keys`, `decide` and `explain` throw {@link ArgumentError} for arguments that are none, {@link ClosedError} after `close`, and
 * {@link ModuleError} when WebAssembly itself failed. A mail server lets the mail pass then.
 */
export interface Policy extends Deciding {}
export class Policy {
  /**
   * @param policy JSON as a text, whose lines errors can name, or an object. Without one no policy is in force: `decide` answers `continue`, at
   * the end of data `accept`, with the reason `no-policy`.
   * @throws {PolicyError} when it has errors.
   */
  constructor(policy?: string | object | null, options?: PolicyOptions | null);

  /** The policy in force; null without one. */
  readonly summary: Summary | null;

  /**
   * Puts another policy in force.
   * @throws {PolicyError} when it has errors, all of them at once. The policy before stays in force then.
   */
  configure(policy: string | object, options?: PolicyOptions | null): Summary;

  /** Frees its memory. A call after it throws {@link ClosedError}; closing again does nothing. */
  close(): void;

  /** The same as `close`, for `using`. Not there in versions of Node and browsers that have no `Symbol.dispose`. */
  [Symbol.dispose](): void;
}

/**
 * Reads an address as mail servers write it: with brackets, with a zone id, with Sendmail's `IPv6:` prefix. Returns its usual form.
 * @throws {AddressError} that says what was expected.
 */
export function parseAddress(text: string): Address;

/** A record for people and reports. The names are those of the JSON that every host shows. */
export interface Inspected {
  kind: string;
  [name: string]: unknown;
}

/**
 * A record for people and reports.
 * @throws {RecordError} for octets that are no record.
 */
export function inspect(record: StoredRecord): Inspected;

/**
 * Reads Authentication-Results header fields (RFC 8601), the topmost first, with or without the field's name. Only those whose authserv-id is one
 * of the trusted ids count; an empty or missing id never does. What is not understood is no pass.
 *
 * Pass only fields that your own border added: a client can write any id it likes.
 */
export function parseAuthenticationResults(headers: readonly string[], trustedIds: readonly string[]): AuthResults;

/** The JSON Schema (draft 2020-12) of the policy. */
export function schema(): Record<string, unknown>;

/** What this module is. */
export function describe(): Description;

/** What all errors of this package have in common. */
export class SmtpFallbackError extends Error {}

/** A policy with errors. The message has a line for each. */
export class PolicyError extends SmtpFallbackError {
  constructor(errors: PolicyProblem[]);
  /** All errors of the text (errors of syntax, size and nesting stand alone). */
  readonly errors: PolicyProblem[];
}

/** An argument that the function cannot take. The message says where, what was expected, and what was found. */
export class ArgumentError extends SmtpFallbackError {
  constructor(path: string, problem: string);
  /** Where, such as `connection.records[0].key`; empty where that is not known. */
  readonly path: string;
}

/** A text that is no address. */
export class AddressError extends SmtpFallbackError {}

/** Octets that are no record. */
export class RecordError extends SmtpFallbackError {}

/** A call on a policy that was closed. */
export class ClosedError extends SmtpFallbackError {}

/**
 * WebAssembly failed: a defect of the module, or no memory. The instance is replaced by a fresh one with the same policies, so that the next call
 * is answered; `cause` is the error of WebAssembly.
 */
export class ModuleError extends SmtpFallbackError {}
