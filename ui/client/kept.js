// What this browser keeps of a page: which pictures are selected, where one was, how one likes it. It survives pages,
// reloads and Review.

/** What `sessionStorage` or `localStorage` has under a name; null for nothing, and where it cannot be read. */
export function recall(storage, name) {
  try {
    return JSON.parse(window[storage].getItem(name));
  } catch {
    return null;
  }
}

/** Keep it there; null takes it away. A browser that is full or keeps nothing has forgotten it with the next page. */
export function remember(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, JSON.stringify(value));
  } catch {
    // Nothing that is kept so is needed.
  }
}

/** Which pictures of an audit are selected, by path. */
export class Selection {
  /** @param {string} audit  @param {() => void} changed */
  constructor(audit, changed) {
    this.key = `gradattn selection ${audit}`;
    this.changed = changed;
    const kept = recall("sessionStorage", this.key);
    this.held = new Set(Array.isArray(kept?.paths) ? kept.paths : []);
    this.above = kept?.above ?? null; // the threshold that selected exactly these, if one did
  }

  get size() {
    return this.held.size;
  }

  get paths() {
    return [...this.held];
  }

  has(path) {
    return this.held.has(path);
  }

  set(paths, on, above = null) {
    for (const path of paths) on ? this.held.add(path) : this.held.delete(path);
    this.keep(above);
  }

  replace(paths, above = null) {
    this.held = new Set(paths);
    this.keep(above);
  }

  clear() {
    this.replace([]);
  }

  keep(above) {
    this.above = this.size ? above : null;
    remember("sessionStorage", this.key, this.size ? { paths: this.paths, above: this.above } : null);
    this.changed();
  }
}

/** What scrolls an element: through shadow roots, up to the window's own scroller. */
export function scroller(node) {
  for (let at = node; at; at = at.parentElement ?? at.getRootNode().host) {
    if (/auto|scroll/.test(getComputedStyle(at).overflowY) && at.scrollHeight > at.clientHeight) return at;
  }
  return document.scrollingElement;
}

/** @param {string} page  @param {string} path the picture that has the focus */
export function keepPlace(page, node, path) {
  remember("sessionStorage", `gradattn place ${page}`, { address: location.search, top: scroller(node).scrollTop, path });
}

/** @returns {?{top: number, path: string}} null where the address is another now */
export function keptPlace(page) {
  const kept = recall("sessionStorage", `gradattn place ${page}`);
  return kept?.address === location.search ? kept : null;
}
