// Which pictures of an audit are selected, by path: kept in this tab, so that it survives pages, reloads and Review.

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
