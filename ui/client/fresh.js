// Whether a picture's file is still the one that the audit saw: asked once the picture has come, of several together.

import { post } from "./api.js";

const WAIT = 60; // ms in which others may come that are asked about together
const MOST = 200;

let waiting = new Map(); // audit -> path -> what hears of it
let timer = 0;

/**
 * The sentence where the file is another by now, "" where it is not. Whoever gets no answer asks again with the next list.
 * @returns {Promise<string>}
 */
export function sentenceOn(audit, path) {
  return new Promise((resolve) => {
    if (!waiting.has(audit)) waiting.set(audit, new Map());
    const paths = waiting.get(audit);
    paths.set(path, [...(paths.get(path) ?? []), resolve]);
    timer ||= setTimeout(ask, WAIT);
  });
}

function ask() {
  const asked = waiting;
  [waiting, timer] = [new Map(), 0];
  for (const [audit, paths] of asked) {
    const all = [...paths];
    for (let from = 0; from < all.length; from += MOST) answer(audit, all.slice(from, from + MOST));
  }
}

async function answer(audit, some) {
  const { said } = await post("changed", { audit, paths: some.map(([path]) => path) }).catch(() => ({ said: {} }));
  for (const [path, listeners] of some) for (const tell of listeners) tell(said[path] ?? "");
}
