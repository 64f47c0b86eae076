// `node browser.mjs`: all vectors in headless Chromium, on the package as it is installed. Serves it on loopback, and ends Chromium itself.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { report, vectors } from './vector-files.mjs';

const TIME_LIMIT = 120_000;

const here = fileURLToPath(new URL('.', import.meta.url));
const checkout = process.env.SMTP_FALLBACK_CHECKOUT ?? fileURLToPath(new URL('../../..', import.meta.url));
const consumer = process.env.SMTP_FALLBACK_CONSUMER ?? join(checkout, 'target/js/consumer');
const installed = join(consumer, 'node_modules/smtp-fallback-policy');
/** What a bundler for browsers takes. */
const entry = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')).exports['.'].default.default;

const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.html': 'text/html', '.json': 'application/json' };

/** The strictest policy under which WebAssembly runs: the package needs no `eval`. */
const SECURITY = "default-src 'none'; connect-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

function content(path) {
  if (path === '/') {
    return { type: '.html', body: '<!doctype html><script type="module" src="/runner/page.mjs"></script>' };
  }
  if (path === '/package/entry') {
    return { type: '.js', body: `export * from '/package/${entry.replace(/^\.\//, '')}';` };
  }
  if (path === '/vectors.json') {
    return { type: '.json', body: JSON.stringify(vectors(checkout)) };
  }
  const [, root, file] = /^\/(package|runner)\/((?:lib\/)?[a-z-]+\.(?:m?js|wasm))$/.exec(path) ?? [];
  if (file === undefined) {
    return null;
  }
  // A .wasm without a type, as servers that do not know it send it.
  return { type: /\.[a-z]+$/.exec(file)[0], body: readFileSync(join(root === 'package' ? installed : here, file)) };
}

function serve(finished) {
  const server = createServer((request, response) => {
    if (request.method === 'POST' && request.url === '/outcome') {
      let text = '';
      request.setEncoding('utf8').on('data', (part) => (text += part));
      request.on('end', () => {
        response.end();
        finished(JSON.parse(text));
      });
      return;
    }
    const found = content(request.url);
    const type = TYPES[found?.type] ?? 'application/octet-stream';
    response.writeHead(found === null ? 404 : 200, { 'content-type': type, 'content-security-policy': SECURITY });
    response.end(found?.body);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** Chromium in a folder of its own, and without its calls to the outside. */
function start(url, folder) {
  const quiet = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const options = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', ...quiet, `--user-data-dir=${folder}`];
  // In a process group of its own, so that it can be ended with all of its processes.
  return spawn('chromium', [...options, url], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
}

/** Ends it and waits for the last of its processes: they write to the folder until then. All hold its standard error, which closes with the last. */
async function end(chromium) {
  const closed = new Promise((resolve) => chromium.removeAllListeners('exit').on('close', resolve));
  process.kill(-chromium.pid, 'SIGTERM');
  const late = setTimeout(() => process.kill(-chromium.pid, 'SIGKILL'), 10_000);
  await closed;
  clearTimeout(late);
}

const folder = mkdtempSync(join(tmpdir(), 'smtp-fallback-chromium-'));
let server;
let chromium;
let said = '';
try {
  const outcome = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no outcome after ${TIME_LIMIT / 1000} s`)), TIME_LIMIT);
    const done = (value) => {
      clearTimeout(late);
      resolve(value);
    };
    serve(done).then((listening) => {
      server = listening;
      chromium = start(`http://127.0.0.1:${server.address().port}/`, folder);
      chromium.stderr.setEncoding('utf8').on('data', (part) => (said = (said + part).slice(-2000)));
      chromium.on('error', reject).on('exit', (code) => reject(new Error(`chromium ended (${code}): ${said}`)));
    }, reject);
  });
  process.exitCode = report('chromium', outcome) ? 0 : 1;
} finally {
  server?.close();
  server?.closeAllConnections();
  if (chromium?.pid !== undefined && chromium.exitCode === null && chromium.signalCode === null) {
    await end(chromium);
  }
  rmSync(folder, { recursive: true });
}
