// `node transpile.mjs COMPONENT FOLDER`: the component as JavaScript, by jco.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { transpile } from '@bytecodealliance/jco-transpile';

const [component, folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('Usage: node transpile.mjs COMPONENT FOLDER');
  process.exit(2);
}

const { files, imports } = await transpile(component, {
  name: 'smtp-fallback-policy',
  // Instantiated by whoever loads it, at once: a mail server is to wait for nothing.
  instantiation: 'sync',
  // What a `result` has as its error is thrown as an `Error`, with that value as its `payload`.
  noComponentErrorWrapping: false,
});
if (imports.length > 0) {
  throw new Error(`the component imports ${imports.join(', ')}, expected nothing`);
}
for (const [name, content] of Object.entries(files)) {
  await mkdir(dirname(join(folder, name)), { recursive: true });
  await writeFile(join(folder, name), content);
}
