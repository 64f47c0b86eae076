// What runs in the browser: all vectors on the package's entry for browsers, then the outcome to the server that handed this out.
import { npmFace } from './npm-face.mjs';
import { runAll } from './vectors.mjs';

async function outcome() {
  try {
    const [api, vectors] = await Promise.all([import('/package/entry'), fetch('/vectors.json').then((response) => response.json())]);
    return runAll(() => npmFace(api), vectors);
  } catch (error) {
    return { passed: 0, failures: [error.stack ?? String(error)] };
  }
}

await fetch('/outcome', { method: 'POST', body: JSON.stringify(await outcome()) });
