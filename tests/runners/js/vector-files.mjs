// The vectors as they lie on disk.
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

/** All vectors, in the order of their file names. */
export function vectors(checkout) {
  const root = join(checkout, 'tests/vectors');
  const files = readdirSync(root, { recursive: true }).filter((file) => file.endsWith('.json'));
  return files.sort().map((file) => ({
    file: relative(root, join(root, file)).split(sep).join('/'),
    vector: JSON.parse(readFileSync(join(root, file), 'utf8')),
  }));
}

/** Prints what failed and how many passed, and tells whether all did. */
export function report(name, { passed, failures }) {
  for (const failure of failures) {
    console.log(failure);
  }
  console.log(`${name}: ${passed} passed, ${failures.length} failed`);
  return failures.length === 0 && passed > 0;
}
