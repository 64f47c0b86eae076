import type * as policy from './policy.js';

export type * from './policy.js';

/** The functions of the contract, of one instance with a policy of its own. */
export type Policy = typeof policy;

/** What a function of the contract that can fail throws. */
export interface ComponentError<Payload> extends Error {
  /** The errors of a policy (`configure`), else a text. */
  readonly payload: Payload;
}

/**
 * Makes an instance, synchronously. It has no policy until `configure`. After a `WebAssembly.RuntimeError` it is dead: throw it away and load
 * another.
 */
export function load(): Policy;
