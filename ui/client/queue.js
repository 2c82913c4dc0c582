// The suspects in hand: where the reviewer is among them, those before, and those prepared to come next.
// Whoever is held keeps their place, whatever the order becomes meanwhile; the rest of the list stays on the server.

const AHEAD = 24;
const AT_ONCE = 4;
const BEHIND = 40;
const SMALL_AHEAD = 2;
const REST = 1000; // ms
const ROUNDS = 8; // answers in a row that held nothing new, where the order has changed under what is held

/**
 * @typedef {object} Item
 * @property {string} path
 * @property {object|null} suspect null where only its place is kept
 * @property {HTMLImageElement|null} image loaded and decoded
 * @property {"new"|"loading"|"ready"|"missing"} state
 */

export class Queue {
  /**
   * @param {object} options
   * @param {(params: object) => Promise<object>} options.list a stretch of the list
   * @param {(path: string) => Promise<object>} options.one the suspect at a path
   * @param {(kind: string, path: string, hash: string) => string} options.picture an address
   * @param {(kind: string, path: string, hash: string, priority: string) => Promise<HTMLImageElement>} options.loaded
   * @param {(path: string) => Promise<string>} options.fresh a sentence where its file is another than the audit saw
   * @param {() => void} options.changed something came that may be what the screen waits for
   * @param {(path: string) => boolean} options.said it was decided here, and the server does not know it yet
   */
  constructor({ list, one, picture, loaded, fresh, changed, said }) {
    Object.assign(this, { list, one, picture, loaded, fresh, changed, said });
    this.items = [];
    this.at = 0;
    this.known = new Set();
    this.cursor = null;
    this.more = true;
    this.began = false;
    this.loading = 0;
    this.problem = null;
  }

  get current() {
    return this.items[this.at] ?? null;
  }

  /** How many pictures are here and ready after the current one. */
  get ready() {
    return this.items.slice(this.at + 1).filter((item) => item.state === "ready" || item.state === "missing").length;
  }

  /** Paths of those that come next and that nobody is known to have decided. */
  ahead() {
    return this.items.slice(this.at + 1).filter(({ suspect }) => suspect && !suspect.decision).map(({ path }) => path).slice(0, 2 * AHEAD);
  }

  /** Begin, with the suspect at this path where the address names one. */
  begin(path) {
    this.moved();
    this.first = path;
    return this.fill();
  }

  /** Hold enough of what comes next. Never throws; `problem` says why it could not. */
  fill() {
    this.filling ??= this.fetch().finally(() => {
      this.filling = null;
      this.prepare();
      this.changed();
    });
    this.prepare();
    return this.filling;
  }

  async fetch() {
    try {
      this.problem = null;
      let stale = 0;
      while (this.more && !this.closed && this.items.length - 1 - this.at < AHEAD && stale < ROUNDS) {
        const answer = await this.list({
          count: AHEAD,
          ...(this.cursor && { after: JSON.stringify(this.cursor) }),
          ...(!this.began && this.first && { path: this.first }),
        });
        stale = this.take(answer) ? 0 : stale + 1;
        const last = answer.suspects.at(-1);
        if (last) this.cursor = last.order;
        this.more = Boolean(answer.more && last);
        this.began = true;
        this.prepare();
        this.changed();
      }
    } catch (error) {
      this.problem = error;
    }
  }

  take({ suspects }) {
    const fresh = suspects.filter(({ path }) => !this.known.has(path) && (path === this.first || !this.said(path)));
    for (const suspect of fresh) this.hold(suspect, this.items.length);
    return fresh.length;
  }

  /**
   * The end was reached: ask once more from the beginning, as the order may have changed.
   * @param {boolean} again whether what was passed over comes back (a drawn page stays until it has all its verdicts)
   * @returns {Promise<boolean>} whether anything came
   */
  async rest(again) {
    try {
      const answer = await this.list({ count: AHEAD });
      const open = answer.suspects.filter(({ path }) => (again || !this.known.has(path)) && !this.said(path));
      // Who comes back has one place, the new one.
      const back = new Set(open.map(({ path }) => path));
      this.items = this.items.filter((item) => !back.has(item.path));
      for (const suspect of open) this.hold(suspect, this.items.length);
      if (open.length) this.at = this.items.length - open.length;
      this.problem = null;
      return open.length > 0;
    } catch (error) {
      this.problem = error;
      return false;
    }
  }

  hold(suspect, index) {
    this.known.add(suspect.path);
    this.items.splice(index, 0, { path: suspect.path, suspect, image: null, state: "new" });
  }

  /**
   * Put a suspect on the screen out of turn; what was there comes after it.
   * @param {() => boolean} wanted whether it still is, once it has come
   */
  async show(path, wanted = () => true) {
    const place = () => this.items.findIndex((item) => item.path === path);
    const suspect = place() < 0 && (await this.one(path));
    if (!wanted()) return;
    if (place() < 0) this.hold(suspect, this.at);
    else this.at = place();
    this.prepare();
  }

  /** One step; `past` says of an item whether it is passed over. Beyond the last there is no current one. */
  step(by, past = () => false) {
    let to = this.at + by;
    while (by > 0 && to < this.items.length && past(this.items[to])) to++;
    this.at = Math.max(0, Math.min(this.items.length, to));
    this.moved();
    this.release();
    this.fill();
  }

  /** Fetch what is not here yet, the nearest first, a few at a time, so that decisions get through. */
  prepare() {
    if (this.closed) return;
    const near = [...this.items.slice(this.at, this.at + AHEAD + 1), ...this.items.slice(Math.max(0, this.at - 2), this.at)];
    for (const item of near) {
      if (this.loading >= AT_ONCE) break;
      if (item.state === "new") this.load(item);
    }
    // Small pictures must not stand before those to decide about: only for who rests, and once nothing else is asked for.
    if (this.rested && !this.loading) for (const item of near.slice(1, SMALL_AHEAD)) this.smalls(item);
  }

  /** Another suspect is on the screen. */
  moved() {
    this.rested = false;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.rested = true;
      this.prepare();
    }, REST);
  }

  async load(item) {
    item.state = "loading";
    this.loading++;
    try {
      item.suspect ??= await this.one(item.path);
      if (item.suspect.problem) item.state = "missing";
      else await this.decode(item);
      if (item.suspect.check && item.state === "ready") await this.check(item);
    } catch (error) {
      item.state = "new";
      this.problem = error;
      this.loading--;
      this.changed();
      clearTimeout(this.retry);
      this.retry = setTimeout(() => this.prepare(), 2000);
      return;
    }
    this.loading--;
    this.prepare();
    this.changed();
  }

  /** Its file is newer than the audit: now that it was fetched its content tells whether it is another. */
  async check(item) {
    const { suspect } = item;
    const changed = await this.fresh(suspect.path);
    suspect.check = false;
    // It may be on the screen already: another object is drawn anew.
    if (changed && item.suspect === suspect) item.suspect = { ...suspect, changed };
  }

  async decode(item) {
    const { path, content_hash } = item.suspect;
    const near = this.items.indexOf(item) - this.at;
    try {
      item.image = await this.loaded("stage", path, content_hash, near <= 4 ? "high" : "auto");
    } catch (error) {
      if (!(error.status >= 400 && error.status < 500)) throw error;
      item.suspect.problem ||= error.message;
      item.state = "missing";
      return;
    }
    // With the rest of the page in one frame, never a frame later.
    item.image.decoding = "sync";
    item.state = "ready";
  }

  /** Small pictures beside it: the browser keeps what an image object holds. */
  smalls(item) {
    if (item.smalls || !item.suspect || item.state === "new") return;
    const strips = [...(item.suspect.typical ?? []), item.suspect.similar].filter(Boolean);
    item.smalls = strips.flatMap(({ pictures }) => pictures ?? []).map((small) => {
      const image = new Image();
      image.fetchPriority = "low";
      image.src = this.picture("small", small.path, small.content_hash);
      return image;
    });
  }

  /** Let go of the pictures of those long gone; their places stay. */
  release() {
    for (const item of this.items.slice(0, Math.max(0, this.at - BEHIND))) {
      if (!item.image && !item.smalls) continue;
      Object.assign(item, { image: null, smalls: null, state: "new", suspect: null });
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    clearTimeout(this.resting);
  }
}
