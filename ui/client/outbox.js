// What was decided and is not in the database yet. Each entry lies in this browser's storage from the key press until
// the server has answered for it, under a key of its own, so that tabs never write over one another.
// An entry has an id that the server stores once, however often it is sent: nothing is lost, and nothing doubled.

const AT_ONCE = 50;
const WAITS = [500, 1000, 2000, 4000, 8000];

/**
 * @typedef {object} Entry
 * @property {string} id the id of the log entry that it becomes
 * @property {"decision"|"undo"} kind
 * @property {string} audit
 * @property {string} reviewer
 * @property {string|null} path null: an undo of whatever the reviewer said last
 * @property {string} seen the newest log entry about the picture that its author had seen, "" for none
 * @property {string} outbox the tab it was said in: what one tab says in a row was said knowing all before it
 * @property {number} at when it was said, in ms since 1970
 * @property {{path: string, seen: string}[]} [copies] exact copies of the picture that are decided with it
 * @property {object} [answer] why it waits for a person: {status: "newer"|"refused"|"theirs", newest, stands, reason}
 */

/** A UUID, also where the page has no secure context and so no crypto.randomUUID. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export class Outbox {
  /**
   * @param {object} options
   * @param {(path: string, body: object) => Promise<object>} options.post throws {status: 0} where nobody answers
   * @param {string} options.place names the server and the audit
   * @param {() => void} options.changed what is unsent, or whether the server answers, has changed
   * @param {(entry: Entry, answer: object) => void} options.landed an entry was answered for
   * @param {() => string[]} [options.ahead] paths that are held and come next
   * @param {(paths: string[]) => void} [options.others] those of them about which something stands by now
   * @param {Storage|null} [options.storage]
   */
  constructor({ post, place, changed, landed, ahead = () => [], others = () => {}, storage = browserStorage() }) {
    Object.assign(this, { post, changed, landed, ahead, others, storage });
    this.prefix = `gradattn/outbox/${place}/`;
    this.entries = new Map();
    this.unkept = new Set();
    this.count = 0;
    this.tries = 0;
    this.offline = false;
    this.load();
    this.listen = (event) => this.heard(event);
    this.online = () => this.again();
    window.addEventListener("storage", this.listen);
    window.addEventListener("online", this.online);
    this.again();
  }

  /** What the page shows of it. */
  get status() {
    const all = [...this.entries.values()];
    const unsent = all.filter((entry) => !entry.answer);
    return {
      unsent: unsent.length,
      since: unsent.length ? Math.min(...unsent.map((entry) => entry.at)) : 0,
      choices: all.filter((entry) => entry.answer),
      offline: this.offline,
      seconds: Math.max(1, WAITS[Math.min(this.tries, WAITS.length - 1)] / 1000),
      full: this.unkept.size > 0 && this.offline,
    };
  }

  /** Paths somebody has spoken of without the server knowing it. */
  pending() {
    return new Set([...this.entries.values()].map((entry) => entry.path));
  }

  /** The last word on a picture that is on its way and waits for no person; null for none. */
  last(path) {
    const last = [...this.entries].filter(([, entry]) => entry.path === path).sort(([a], [b]) => (a < b ? -1 : 1)).at(-1)?.[1];
    return last && !last.answer ? last : null;
  }

  /** Take an entry; false where neither this browser can keep it nor the server answers. */
  add(entry) {
    const key = `${this.prefix}${String(entry.at).padStart(15, "0")}-${String(this.count++).padStart(6, "0")}-${entry.id}`;
    if (!this.keep(key, entry)) {
      // Without a place here only the server can have it; what cannot be kept anywhere is not decided.
      if (this.offline) {
        this.full = true;
        this.changed();
        return false;
      }
      this.unkept.add(key);
    }
    this.entries.set(key, entry);
    this.changed();
    this.again();
    return true;
  }

  /** Somebody has chosen between two decisions: "theirs", "mine", or "unsure". */
  choose(id, what) {
    const found = [...this.entries].find(([, entry]) => entry.id === id);
    if (!found) return;
    const [key, entry] = found;
    const { newest } = entry.answer;
    if (what === "theirs") {
      this.drop(key);
    } else {
      // Of an undo "mine" is to take back theirs.
      const mine = entry.kind === "undo" ? { others: true } : {};
      const said = what === "mine" ? mine : { kind: "decision", decision: "unsure", new_label: null, name: "", id: uuid() };
      // Knowing theirs now; a third word that comes in between is asked about again.
      const again = { ...entry, ...said, seen: newest?.id ?? entry.seen };
      // It may be a copy that somebody has decided: what was known of this one is known still.
      if (entry.copies) again.copies = [...entry.copies, { path: entry.path, seen: entry.seen }];
      delete again.answer;
      this.entries.set(key, again);
      this.keep(key, again);
    }
    this.changed();
    this.again();
  }

  /** Resolves once the server has answered for everything that does not wait for a person. */
  async flushed() {
    while (this.status.unsent && !this.offline) await (this.running ?? this.again() ?? Promise.resolve());
  }

  /** Send what is unsent, now. */
  again() {
    clearTimeout(this.timer);
    this.running ??= this.run().finally(() => {
      this.running = null;
      if (!this.closed && !this.offline && this.sendable().length) this.again();
    });
    return this.running;
  }

  async run() {
    try {
      await withLock(this.prefix, async () => {
        for (let batch = this.sendable(); batch.length && !this.closed; batch = this.sendable()) await this.send(batch);
      });
      this.tries = 0;
      if (this.offline) {
        this.offline = false;
        this.changed();
      }
    } catch (error) {
      const wait = WAITS[Math.min(this.tries++, WAITS.length - 1)];
      this.offline = true;
      this.timer = setTimeout(() => this.again(), wait);
      this.changed();
    }
  }

  /** Keys of the next entries that can travel together: decisions of one reviewer, or one undo. */
  sendable() {
    const keys = [];
    // What follows a question that nobody has answered yet about the same picture waits with it.
    const waiting = new Set();
    let first = null;
    for (const key of [...this.entries.keys()].sort()) {
      const entry = this.entries.get(key);
      if (entry.answer || waiting.has(entry.path)) {
        waiting.add(entry.path);
        continue;
      }
      if (first && (entry.kind === "undo" || first.kind === "undo" || entry.reviewer !== first.reviewer || entry.outbox !== first.outbox)) break;
      first ??= entry;
      keys.push(key);
      if (keys.length === AT_ONCE) break;
    }
    return keys;
  }

  async send(keys) {
    const entries = keys.map((key) => this.entries.get(key));
    const { audit, reviewer, kind, outbox } = entries[0];
    let answers;
    try {
      if (kind === "undo") {
        const { id, path, seen, others } = entries[0];
        answers = [{ id, ...(await this.post("undo", { audit, reviewer, outbox, id, path, seen, others: Boolean(others), exact: path !== null })) }];
      } else {
        const decisions = entries.map(({ id, path, decision, new_label, note, seen, copies }) => ({ id, path, decision, new_label, note, seen, copies }));
        const answer = await this.post("decisions", { audit, reviewer, outbox, decisions, ahead: this.ahead() });
        this.others(answer.decided ?? []);
        answers = answer.results.map((result) => ({ ...result, progress: answer.progress }));
      }
    } catch (error) {
      // No answer, or one that says "later": it is tried again. Anything else is about one of these entries.
      if (!(error.status >= 400 && error.status < 500) || [403, 408, 429].includes(error.status)) throw error;
      if (keys.length > 1) {
        for (const key of keys) await this.send([key]);
        return;
      }
      answers = [{ id: entries[0].id, status: "refused", reason: error.message }];
    }
    for (const [index, key] of keys.entries()) {
      const answer = answers.find((each) => each.id === entries[index].id);
      if (answer) this.answered(key, answer);
    }
    if (!answers.length) throw new Error("the server did not answer for what it was sent");
    this.changed();
  }

  answered(key, answer) {
    const entry = this.entries.get(key);
    if (!entry || entry.id !== answer.id) return;
    const agreed = agrees(entry, answer);
    if (agreed && !answer.stands.mine) {
      // Both are in the log then; where two say the same, nobody has to choose. One's own word of another tab is enough.
      this.entries.set(key, { ...entry, seen: answer.newest.id });
      this.keep(key, this.entries.get(key));
      return;
    }
    const asks = !agreed && (answer.status === "newer" || answer.status === "refused" || answer.status === "theirs");
    if (asks) {
      const { status, newest, stands, reason } = answer;
      this.entries.set(key, { ...entry, answer: { status, newest, stands, reason } });
      this.keep(key, this.entries.get(key));
    } else {
      this.drop(key);
    }
    this.landed(entry, answer);
  }

  /** Everything that the database does not have, as text for a file. */
  asFile() {
    return JSON.stringify({ decisions: [...this.entries.keys()].sort().map((key) => this.entries.get(key)) }, null, 1);
  }

  /** Take over what such a file holds; returns how many entries. What the database has by now is not stored again. */
  takeFile(text, audit) {
    let found;
    try {
      found = JSON.parse(text).decisions.filter((entry) => typeof entry.id === "string" && typeof entry.at === "number");
    } catch {
      throw new Error("That file holds no decisions of this page.");
    }
    const own = found.filter((entry) => entry.audit === audit);
    if (!own.length) throw new Error("That file holds no decisions about this audit.");
    const held = new Set([...this.entries.values()].map((entry) => entry.id));
    for (const { answer, ...entry } of own) if (!held.has(entry.id)) this.add(entry);
    return own.length;
  }

  load() {
    for (let index = 0; index < (this.storage?.length ?? 0); index++) {
      const key = this.storage.key(index);
      if (key.startsWith(this.prefix)) this.take(key, this.storage.getItem(key));
    }
  }

  take(key, text) {
    try {
      const entry = JSON.parse(text);
      if (typeof entry?.id === "string" && typeof entry.at === "number") this.entries.set(key, entry);
    } catch {
      // Not one of ours; it is left where it is.
    }
  }

  /** Another tab has written or removed an entry. */
  heard(event) {
    if (event.storageArea !== this.storage || !event.key?.startsWith(this.prefix)) return;
    if (event.newValue === null) this.entries.delete(event.key);
    else this.take(event.key, event.newValue);
    this.changed();
  }

  keep(key, entry) {
    try {
      this.storage.setItem(key, JSON.stringify(entry));
      return true;
    } catch {
      return false;
    }
  }

  drop(key) {
    this.entries.delete(key);
    this.unkept.delete(key);
    if (!this.unkept.size) this.full = false;
    this.storage?.removeItem(key);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    window.removeEventListener("storage", this.listen);
    window.removeEventListener("online", this.online);
  }
}

/** Whether somebody was faster, and has said the same. */
function agrees({ kind, decision, new_label, copies }, { status, newest, stands }) {
  if (status !== "newer" || kind !== "decision" || copies || !stands || newest?.id !== stands.id) return false;
  return stands.decision === decision && (stands.new_label ?? null) === (new_label ?? null);
}

/** One tab at a time sends; without locks (no secure context) ids alone keep anything from being stored twice. */
async function withLock(name, work) {
  if (navigator.locks) await navigator.locks.request(name, work);
  else await work();
}

function browserStorage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
