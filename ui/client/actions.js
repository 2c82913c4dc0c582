// What a press does in Review: decide, step, take back, note, tag, search. A decision is about the suspect that was seen
// when the press began, or it is none, and that is said.

import * as api from "./api.js";
import { Asking } from "./asking.js";
import { FILTERS, go, write } from "./address.js";
import { plain, shortened } from "./names.js";
import { words } from "./last.js";
import { uuid } from "./outbox.js";
import { listing } from "./states.js";
import { EARLY, keyOf, Undoing } from "./undoing.js";

// The second half of a double click is no decision about the next suspect.
const DOUBLE = 350;
const BRIEF = 18; // letters of a name on the button that takes it back
// What may be said of a picture that cannot be shown; a random check has to end all the same.
const UNSEEN = ["unsure", "remove", "note"];
const NAMED = { relabel: "A", keep: "K", unsure: "U", remove: "X" };

export class Actions {
  constructor(review) {
    this.review = review;
    this.asking = new Asking(this);
    this.undoing = new Undoing(this);
    this.notes = new Map();
    // The newest log entry about each picture that this page knows of, by content and given label: copies share it.
    this.seen = new Map();
    // When something was last said of a path here, or answered for.
    this.spoken = new Map();
    // How many more pictures are decided than when this page was opened.
    this.balance = 0;
    this.pressed = 0;
  }

  get item() {
    return this.review.queue.current;
  }

  act(name, event) {
    const { review, asking } = this;
    const pressed = NAMED[name] ?? name;
    if ("AKUX".includes(pressed) && pressed.length === 1) return this.press(pressed, event);
    if (/^[1-5]$/.test(name)) return this.digit(Number(name), event);
    const does = {
      other: () => asking.search(event), note: () => asking.note(event), tag: () => asking.tag(event),
      skip: () => this.step(1), back: () => this.step(-1), undo: () => this.undoing.undo(event),
      lock: () => review.view.lock(), outlines: () => review.view.outlines(), original: () => review.view.original(),
      around: () => asking.around(),
      larger: () => review.view.zoom(1), smaller: () => review.view.zoom(-1), whole: () => review.view.zoom(0),
      grid: () => go("grid", listing(review.params)), help: () => asking.help(),
      copies: () => this.copies(),
      measure: () => review.measuring.measure(), methods: () => review.measuring.choose(),
      settings: () => asking.settings(), saved: () => this.again(), try: () => this.again(), "save-file": () => asking.save(),
      theirs: () => this.choose("theirs"), mine: () => this.choose("mine"), neither: () => this.choose("unsure"),
      again: () => review.begin(listing(review.params)), clear: () => this.clear(), check: () => this.check(),
      suspects: () => review.begin(audit(review.params), { push: true }), draw: () => this.draw(),
      "unsure-left": () => review.begin({ ...audit(review.params), decided: "unsure" }, { push: true }),
      export: () => go("export", audit(review.params)), overview: () => go("overview", audit(review.params)),
    };
    const until = /^until-([\d.]+)$/.exec(name);
    if (until) review.begin({ ...audit(review.params), list: "until", left: until[1] }, { push: true });
    else does[name]?.();
  }

  /** A button or its key. */
  press(name, event) {
    const { suspect } = this.item ?? {};
    const action = name === "U" ? { decision: "unsure" } : name === "X" ? { decision: "remove" } : suspect?.actions?.[name];
    if (!suspect || action) this.decide({ decision: "keep", ...action }, event, name);
    else this.review.say("Nothing is proposed for this picture.");
  }

  digit(number, event) {
    const { suspect } = this.item ?? {};
    const found = suspect?.classes?.[number - 1];
    if (!suspect || found) this.decide(found ?? { decision: "keep" }, event, String(number));
    else this.review.say(`This picture has no class ${number}.`);
  }

  /** Whether a press counts for the suspect on the screen; where it does not, that is said. */
  counts(event, decision = "note") {
    const { review, item } = this;
    const { dialogs, seen, since, data } = review;
    if (data.readOnly) return this.refuse("Read-only: decisions are switched off.");
    if (!item && review.drawn?.said !== "null") return this.refuse("There is no picture here to decide about.");
    if (!item || seen !== item) return this.refuse(EARLY);
    if (item.state === "missing" && !UNSEEN.includes(decision)) return this.refuse("This picture cannot be shown. Skip it, or say unsure or remove.");
    if (event?.type === "click" && event.detail > 0) {
      // A pointer that went down on another suspect, or the second half of a double click.
      const { item: under, since: down } = review.pointer ?? {};
      if (under !== item || down < since) return this.refuse(EARLY);
      if (event.timeStamp - this.pressed < DOUBLE) return this.refuse("A second click so soon does not count. Nothing was decided.");
      this.pressed = event.timeStamp;
    } else if (event && event.timeStamp < since) return this.refuse(EARLY);
    return !dialogs.open;
  }

  refuse(text) {
    this.review.say(text);
    return false;
  }

  async decide(action, event, name = null) {
    if (!this.counts(event, action.decision)) return;
    const { item } = this;
    if (!(await this.asking.named()) || item !== this.item) return;
    this.store(item, action, name);
  }

  /** Put a decision into the outbox and go on. */
  store(item, { decision, new_label = null, name: called = "" }, pressed, { stay = false } = {}) {
    const { review } = this;
    const { suspect } = item;
    const label = decision === "relabel" ? new_label : null;
    const named = decision !== "relabel" ? "" : called || suspect.classes.find((each) => each.label === label)?.name || label;
    const entry = {
      id: uuid(), kind: "decision", audit: review.audit, reviewer: review.reviewer, outbox: review.tab, at: Date.now(),
      path: item.path, decision, new_label: label, note: this.notes.get(item.path) ?? "", seen: this.newest(suspect),
      name: named, given: suspect.given.name, content_hash: suspect.content_hash,
      ...(item.all && suspect.copies?.length && { copies: suspect.copies }),
    };
    if (!review.outbox.add(entry)) {
      review.render();
      return;
    }
    this.speak(item.path);
    this.seen.set(keyOf(suspect), entry.id);
    if (!suspect.decision) this.balance++;
    item.before = [...(item.before ?? []), suspect.decision];
    item.said = true;
    suspect.decision = { ...entry, mine: true };
    this.notes.delete(item.path);
    this.remember(entry);
    this.telling = plain(words(entry));
    if (entry.copies) this.withCopies(entry);
    if (pressed) review.view.flash(pressed);
    // After what leaves the list comes the next that nobody has decided.
    if (stay) review.render();
    else this.step(1, (each) => review.undecided && Boolean(each.suspect?.decision));
    this.announce(entry.id);
  }

  /** Its exact copies are decided with it: those that are held here are passed over, and what stands is asked for. */
  withCopies(entry) {
    this.telling += `; all ${entry.copies.length + 1} copies`;
    for (const { path } of entry.copies) {
      this.speak(path);
      const item = this.review.queue.items.find((each) => each.path === path);
      if (!item) continue;
      Object.assign(item, { said: true, stale: true });
      if (!item.suspect) continue;
      if (!item.suspect.decision) this.balance++;
      item.before = [...(item.before ?? []), item.suspect.decision];
      item.suspect.decision = { ...entry, mine: true };
    }
  }

  /** Whether what is decided next about this picture is said of all its copies. */
  copies() {
    const { item, review } = this;
    if (!item?.suspect?.copies?.length || review.data.readOnly) return this.refuse("No exact copy of this picture has another label.");
    item.all = !item.all;
    review.render();
    return review.say(item.all ? "What you decide is said of all copies." : "What you decide is about this copy only.");
  }

  remember(entry) {
    const { path, decision, name, given, content_hash } = entry;
    this.review.last.add({ id: entry.id, path, decision, name, given, content_hash, short: plain(words(entry).map(([text, role]) => [role ? shortened(text, BRIEF) : text, role])) });
  }

  newest(suspect) {
    return this.seen.get(keyOf(suspect)) ?? suspect.seen ?? "";
  }

  step(by, past = () => false) {
    const { review } = this;
    const { queue } = review;
    if (by > 0 && !queue.current) return;
    if (by < 0 && queue.at === 0) {
      review.say("This is the first one.");
      return;
    }
    this.turn = {};
    queue.step(by, past);
    this.arrive();
  }

  /** Another suspect is current: the address and the screen follow. */
  arrive({ push = true } = {}) {
    const { review } = this;
    const { queue } = review;
    if (push && queue.current) write({ ...review.params, path: queue.current.path }, { push, blind: review.blind });
    review.view.compare(null);
    review.render();
    review.view.focus();
    if (queue.current?.stale) this.refresh(queue.current);
  }

  /** Its sentences follow what was decided about it. */
  async refresh(item) {
    item.stale = false;
    const asked = (item.asked = Symbol("asked"));
    const suspect = await this.one(item.path).catch(() => null);
    // Answers may come in another order.
    if (!suspect || item.asked !== asked || this.review.outbox.pending().has(item.path)) return;
    // What its content has told stays true until it is fetched again.
    if (suspect.check) suspect.changed = item.suspect?.changed ?? "";
    item.suspect = suspect;
    this.review.render();
  }

  which(path) {
    const { audit, params, reviewer } = this.review;
    return { audit, path, list: params.list, reviewer };
  }

  /** The suspect at a path, with the last word on it: an answer that was asked for before that may know nothing of it. */
  async one(path) {
    let suspect, asked;
    do {
      asked = performance.now();
      suspect = await api.get("suspect", this.which(path));
    } while (this.spoken.get(path) > asked);
    const last = this.review.outbox.last(path);
    if (last) suspect.decision = last.kind === "undo" ? null : { ...last, mine: true };
    return suspect;
  }

  /** Something was said of this picture, or answered for. */
  speak(path) {
    this.spoken.set(path, performance.now());
  }

  /** Show this suspect, whatever is next. */
  async open(path, { push = true } = {}) {
    const { queue } = this.review;
    // On a slow network one may have gone on before it comes: the last step counts.
    const turn = (this.turn = {});
    if (!path || queue.current?.path === path) return;
    try {
      await queue.show(path, () => turn === this.turn);
    } catch (error) {
      if (turn === this.turn) this.review.say(error.message);
      return;
    }
    if (queue === this.review.queue && turn === this.turn) this.arrive({ push });
  }

  /** The server has answered for an entry. */
  landed(entry, answer) {
    const { review } = this;
    if (answer.progress) this.progress(answer.progress);
    const path = answer.path ?? entry.path;
    if (path) this.speak(path);
    const item = path && review.queue.items.find((each) => each.path === path);
    if (item) Object.assign(item, { stale: true, asked: null });
    if (entry.kind === "undo") this.undoing.landed(entry, answer, item);
    if (item && item === review.queue.current && !review.outbox.pending().has(path)) this.refresh(item);
    this.saved?.(entry.id);
  }

  /** Heard: what was said, whether it is saved, and what is shown now. */
  announce(id) {
    const { review } = this;
    const said = this.telling;
    const tell = (prefix) => {
      clearTimeout(this.hearing);
      const { current } = review.queue;
      const now = current?.suspect ? ` Now: ${plain(current.suspect.headline)}.` : "";
      review.view.say(`${prefix}${said}.${now}`);
    };
    clearTimeout(this.hearing);
    this.saved = (landed) => landed === id && tell("Saved: ");
    this.hearing = setTimeout(() => tell("Kept in this browser: "), 400);
  }

  choose(what) {
    const { outbox } = this.review;
    const [entry] = outbox.status.choices;
    if (!entry) return;
    outbox.choose(entry.id, what);
    if (what === "theirs") {
      this.review.last.remove(entry.path);
      this.settle(entry.path, entry.answer.stands);
    }
    this.review.render();
  }

  /** What stands about a picture, where that is not what was taken for granted here: the counts follow. */
  settle(path, stands = null) {
    const item = this.review.queue.items.find((each) => each.path === path);
    if (!item || this.review.outbox.pending().has(path)) return;
    if (item.suspect) {
      this.balance += Number(Boolean(stands)) - Number(Boolean(item.suspect.decision));
      item.suspect.decision = stands;
    }
    Object.assign(item, { stale: true, asked: null, said: Boolean(stands?.mine) });
  }

  /** Somebody else has decided what is held here and comes next: it is passed over, and asked for where one goes back to it. */
  passed(paths) {
    const { queue } = this.review;
    for (const path of paths) if (path !== queue.current?.path) this.settle(path, { decision: "", name: "", reviewer: "", mine: false });
  }

  again() {
    this.review.outbox.again();
    this.review.queue.fill();
  }

  clear() {
    const { params } = this.review;
    this.review.begin(Object.fromEntries(Object.entries(listing(params)).filter(([name]) => !FILTERS.includes(name))), { push: true });
  }

  check() {
    this.review.begin({ ...audit(this.review.params), list: "spot check" }, { push: true });
  }

  async draw() {
    const { review } = this;
    try {
      await api.post("draw", { audit: review.audit, count: review.standing?.count ?? 100 });
      review.begin(listing(review.params));
    } catch (error) {
      review.say(`Nothing was drawn: ${error.message}`);
    }
  }

  /** The pictures are below this folder now; throws where it does not have this one. */
  async moved(folder, suspect) {
    const { queue, audit } = this.review;
    await api.moved(audit, suspect.path, folder);
    for (const item of queue.items) if (item.state === "missing") Object.assign(item, { state: "new", suspect: null });
    queue.prepare();
    this.review.render();
  }

  /** Numbers of the whole audit, as the server counts them; null: ask for them. */
  async progress(known) {
    const { review } = this;
    const { audit, reviewer } = review;
    const found = known ?? (await api.get("progress", { audit, reviewer }).catch(() => null));
    if (!found) return;
    review.rate = found.rate ?? "";
    review.counts = found;
    if (!known) review.render();
  }
}

const audit = (params) => (params.audit ? { audit: params.audit } : {});
