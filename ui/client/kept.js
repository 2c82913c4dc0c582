// What this tab keeps of a page: which pictures are selected, and where one was. It survives pages, reloads and Review.

/** Which pictures of an audit are selected, by path. */
export class Selection {
  /** @param {string} audit  @param {() => void} changed */
  constructor(audit, changed) {
    this.key = `gradattn selection ${audit}`;
    this.changed = changed;
    this.above = null; // the threshold that selected exactly these, if one did
    this.held = new Set();
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.key) ?? "{}");
      this.held = new Set(kept.paths ?? []);
      this.above = kept.above ?? null;
    } catch {
      // What cannot be read selects nothing.
    }
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
    try {
      if (this.size) sessionStorage.setItem(this.key, JSON.stringify({ paths: this.paths, above: this.above }));
      else sessionStorage.removeItem(this.key);
    } catch {
      // A browser that keeps nothing selects until the page is left.
    }
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
  const place = { address: location.search, top: scroller(node).scrollTop, path };
  try {
    sessionStorage.setItem(`gradattn place ${page}`, JSON.stringify(place));
  } catch {
    // A browser that keeps nothing begins at the top.
  }
}

/** @returns {?{top: number, path: string}} null where the address is another now */
export function keptPlace(page) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(`gradattn place ${page}`) ?? "null");
    return kept?.address === location.search ? kept : null;
  } catch {
    return null;
  }
}
