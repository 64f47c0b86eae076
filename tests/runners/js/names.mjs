// Names in the contract's spelling and in that of JavaScript.

export const camel = (name) => name.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
export const kebab = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
