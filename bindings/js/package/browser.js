// Browsers, and whatever else has `fetch` and no file system. Whoever imports this waits until the module is there.
import { start } from './lib/policy.js';

export { Policy, describe, inspect, parseAddress, parseAuthenticationResults, schema } from './lib/policy.js';
export {
  AddressError,
  ArgumentError,
  ClosedError,
  ModuleError,
  PolicyError,
  RecordError,
  SmtpFallbackError,
} from './lib/errors.js';

/** Not by compileStreaming: it fails where a server does not name the type of .wasm files, and the module is small. */
async function load(url) {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`${url} cannot be loaded: ${response.status} ${response.statusText}; serve it beside the package's JavaScript`);
  }
  return WebAssembly.compile(await response.arrayBuffer());
}

start(await load(new URL('./smtp-fallback-policy.wasm', import.meta.url)));
