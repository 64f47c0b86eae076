// The package's types under each way in which TypeScript finds them, for `import` and for `require`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout, consumer } from './installed.mjs';

const tools = join(checkout, 'bindings/js/tools/node_modules');

/** Runs a tool with this node. */
function run(script, options) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(tools, script), ...options], { cwd: consumer, encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

const program = readFileSync(join(checkout, 'tests/runners/js/types/use.ts'), 'utf8');

/** Compiles this file in the folder of a program that has the package installed. */
function compile(folder, file, options) {
  mkdirSync(join(consumer, folder), { recursive: true });
  writeFileSync(join(consumer, folder, file), program);
  const lib = ['--target', 'es2022', '--lib', 'es2022,dom'];
  return run('typescript/bin/tsc', ['--strict', '--noEmit', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', ...lib, ...options, join(folder, file)]);
}

for (const resolution of ['node16', 'nodenext']) {
  for (const [kind, file] of [['import', 'use.mts'], ['require', 'use.cts']]) {
    test(`${kind} under ${resolution}`, () => {
      compile('types', file, ['--module', resolution, '--moduleResolution', resolution]);
    });
  }
}

test('a bundler', () => {
  compile('types', 'bundled.ts', ['--module', 'esnext', '--moduleResolution', 'bundler']);
});

test('a wrong program does not compile', () => {
  writeFileSync(join(consumer, 'wrong.mts'), "import { Policy } from 'smtp-fallback-policy';\nnew Policy().decide({});\n");
  assert.throws(() => run('typescript/bin/tsc', ['--strict', '--noEmit', '--module', 'node16', '--target', 'es2022', 'wrong.mts']), /wrong\.mts\(2,21\): error TS2345/);
});

test('every way to load the package finds types of its own kind', () => {
  const [tarball] = readdirSync(consumer).filter((file) => file.endsWith('.tgz'));
  const entries = ['--entrypoints', '.'];
  const told = run('@arethetypeswrong/cli/dist/index.js', [tarball, ...entries, '--format', 'json']);
  const { analysis, problems } = JSON.parse(told);
  assert.equal(analysis.types.kind, 'included');
  assert.deepEqual(problems, {});
});
