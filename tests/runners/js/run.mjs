// `node run.mjs npm-cjs|npm-esm|jco`: all vectors on this face.
// `node run.mjs npm-cjs|npm-esm|jco bench CASES COUNT`: what a decision costs, and what becomes of memory.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { jcoBench, jcoFace } from './jco-face.mjs';
import { npmBench, npmFace } from './npm-face.mjs';
import { report, vectors } from './vector-files.mjs';
import { runAll } from './vectors.mjs';

const checkout = process.env.SMTP_FALLBACK_CHECKOUT ?? fileURLToPath(new URL('../../..', import.meta.url));
const consumer = process.env.SMTP_FALLBACK_CONSUMER ?? join(checkout, 'target/js/consumer');
const require = createRequire(import.meta.url);

/** How each face is loaded, and called. */
const FACES = {
  'npm-cjs': { load: () => require(join(consumer, 'required.cjs')), face: npmFace, bench: npmBench },
  'npm-esm': { load: () => import(pathToFileURL(join(consumer, 'imported.mjs'))), face: npmFace, bench: npmBench },
  jco: { load: () => require(join(checkout, 'dist/jco')), face: jcoFace, bench: jcoBench },
};

/** Resident memory in KiB. */
function resident() {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
}

function bench(name, api, [file, text]) {
  const count = Number(text);
  const { 'policy-json': policyJson, secret, cases } = JSON.parse(readFileSync(file, 'utf8'));
  const prepare = FACES[name].bench(api, policyJson, secret);
  let warm;
  for (const { name: of, keys, decide } of cases) {
    const { pair, verdict } = prepare(keys, decide);
    const expected = of === 'refusal' ? 'refuse' : of;
    if (verdict(pair()) !== expected) {
      throw new Error(`${of}: the verdict is ${verdict(pair())}, expected ${expected}`);
    }
    for (let index = 0; index < Math.min(count / 10, 1000); index += 1) {
      pair();
    }
    // After the first thousand of all, as every runner.
    warm ??= resident();
    const start = process.hrtime.bigint();
    for (let index = 0; index < count; index += 1) {
      pair();
    }
    console.log(`${of} ${(process.hrtime.bigint() - start) / BigInt(count)}`);
  }
  console.log(`memory ${warm} ${resident()}`);
  return true;
}

const [name, mode, ...rest] = process.argv.slice(2);
const isCount = (text) => /^[1-9][0-9]{0,8}$/.test(text ?? '');
if (!Object.hasOwn(FACES, name ?? '') || (mode !== undefined && (mode !== 'bench' || rest.length !== 2 || !isCount(rest[1])))) {
  console.error(`Usage: node run.mjs ${Object.keys(FACES).join('|')} [bench CASES COUNT]`);
  process.exit(2);
}
const api = await FACES[name].load();
const passed = mode === undefined ? report(name, runAll(() => FACES[name].face(api), vectors(checkout))) : bench(name, api, rest);
process.exitCode = passed ? 0 : 1;
