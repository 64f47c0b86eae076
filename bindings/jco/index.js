// What `require` gives, for `import`.
import api from './index.cjs';

export const { load } = api;
