// Review: one suspect after another. Here are its parts and what is on the screen; what a press does is in actions.js.

import * as api from "./api.js";
import { Actions } from "./actions.js";
import { FILTERS, go, onStep, read, write } from "./address.js";
import { Chips } from "./chips.js";
import { Dialogs } from "./dialogs.js";
import { element } from "./dom.js";
import { sentenceOn } from "./fresh.js";
import { recall, remember } from "./kept.js";
import { isField, Keys, printed } from "./keys.js";
import { Last } from "./last.js";
import { Measuring } from "./measuring.js";
import { Outbox, uuid } from "./outbox.js";
import { ended, noticed, saved, UNSENT_AFTER, used } from "./states.js";
import { Queue } from "./queue.js";
import { createView } from "./view.js";

const TITLES = { "": "Suspect", "spot check": "Random check", until: "Review", "second look": "Second look" };

/** Called once for an element of the page; `onData` hears of each rerun, `signal` ends it. */
export function mount({ root, data, onData, signal }) {
  root.append(element("link", { rel: "stylesheet", href: new URL("./controls.css", import.meta.url).href }));
  const review = new Review(root, data, signal);
  onData((next) => review.told(next));
  signal.addEventListener("abort", () => review.close());
}

class Review {
  constructor(root, data, signal) {
    Object.assign(this, { root, data, audit: data.audit, reviewer: data.reviewer });
    this.tab = tabId();
    this.actions = new Actions(this);
    this.measuring = new Measuring(this);
    this.view = createView(root, {
      picture: (kind, { path, content_hash }) => this.picture(kind, path, content_hash),
      act: (name, event) => this.actions.act(name, event ?? this.click),
      original: ({ path, content_hash }) => api.loaded("original", this.audit, path, content_hash),
      more: () => go("map", { audit: read().audit, near: this.queue.current?.path }),
      changed: (settings) => remember("localStorage", "gradattn/view", settings),
      folder: (folder, suspect) => this.actions.moved(folder, suspect),
    });
    const kept = recall("localStorage", "gradattn/view");
    if (kept) this.view.settings = kept;
    const { slots } = this.view;
    this.toast = slots.dialogs.appendChild(element("div", { className: "toast", "aria-hidden": "true", hidden: true }));
    this.dialogs = new Dialogs(slots.dialogs, () => this.view.focus());
    this.last = new Last(slots.last, {
      audit: this.audit,
      picture: (path, hash) => this.picture("small", path, hash),
      open: (path) => this.actions.open(path),
      key: () => printed().undo ?? "",
      undo: () => this.actions.act("undo"),
    });
    this.chips = new Chips(slots.chips, {
      choices: data.choices, page: "review", audit: this.audit, get: api.get,
      post: (path, body) => api.post(path, { ...body, reviewer: this.reviewer }),
      onChange: (params) => this.begin(params, { push: true }), left: () => this.view.focus(),
    });
    this.outbox = new Outbox({
      post: api.post, place: `${new URL(data.base).pathname}${this.audit}`, changed: () => this.later(),
      landed: (entry, answer) => this.actions.landed(entry, answer),
      // A second look is at what others have decided.
      ahead: () => (this.params.list === "second look" ? [] : this.queue.ahead()), others: (paths) => this.actions.passed(paths),
    });
    this.keys = new Keys({
      act: (name, event) => this.actions.act(name, event), signal, shut: () => this.dialogs.open || this.chips.open,
      hold: (name, on) => (name === "map" ? this.view.map(on) : this.view.flicker(on)), leave: () => this.view.focus(),
    });
    window.addEventListener("keydown", (event) => this.ends(event), { signal });
    // What a press is about is what was on the screen when it began.
    root.addEventListener("pointerdown", (event) => (this.pointer = { item: this.seen, since: event.timeStamp }), { capture: true, signal });
    root.addEventListener("click", (event) => (this.click = event), { capture: true, signal });
    onStep((params) => this.follow(params), signal);
    this.begin(read());
    this.actions.asking.classes();
    this.view.focus();
  }

  /** Escape ends one thing, what lies on top: menus and dialogs keep it to themselves, then a comparison, then another method's map. */
  ends(event) {
    if (event.key !== "Escape" || isField(event.composedPath()[0])) return;
    if (this.view.stage.comparing) {
      this.view.compare(null);
      this.view.focus();
    } else if (this.measuring.shown !== null) this.measuring.ours();
  }

  /** A rerun of the page: a new token, perhaps a new name. */
  told(data) {
    // A name that was changed beside the menu; one that was asked for here stays.
    if (data.reviewer && data.reviewer !== this.data.reviewer) this.reviewer = data.reviewer;
    this.data = data;
    this.outbox.again();
    this.queue.fill();
  }

  /** The list that these parameters name, from its beginning or from `params.path`. */
  begin(params, { push = false } = {}) {
    this.params = params;
    this.blind = ["spot check", "until", "second look"].includes(params.list);
    this.standing = null;
    this.ending = null;
    this.onScreen = this.seen = null;
    this.base = null;
    this.queue?.close();
    const { path, ...filters } = params;
    this.queue = new Queue({
      list: (place) => this.list({ ...filters, audit: this.audit, reviewer: this.reviewer, ...place }),
      one: (which) => this.actions.one(which),
      picture: (kind, which, hash) => this.picture(kind, which, hash),
      loaded: (kind, which, hash, priority) => api.loaded(kind, this.audit, which, hash, priority),
      fresh: (which) => sentenceOn(this.audit, which),
      changed: () => this.render(),
      said: (which) => this.undecided && this.outbox.last(which)?.kind === "decision",
    });
    write(params, { push });
    this.chips.show(params);
    if (this.blind) this.ask();
    this.queue.begin(path);
    this.render();
  }

  /** A stretch of the list; its counts are taken over where the server knew of all that was decided here. */
  async list(params) {
    const { balance } = this.actions;
    const whole = !this.outbox.status.unsent || !this.base;
    const first = !this.base;
    const answer = await api.get("list", params);
    // Of a million pictures these counts take as long as the list, which they would keep waiting.
    if (first) this.actions.progress(null);
    const { total, decided, left, outside } = answer;
    if (whole) this.base = { total, decided, left, outside, balance, first: this.base?.first ?? decided };
    return answer;
  }

  /** The counts of the list as they are with all that was decided here. */
  get totals() {
    const { total, decided, left, outside, balance, first } = this.base ?? { total: 0, decided: 0, left: 0, outside: 0, balance: 0, first: 0 };
    const since = this.actions.balance - balance;
    const now = Math.max(0, Math.min(total, decided + since));
    // A page that was drawn is gone through as it is drawn, whatever was before it.
    const place = this.blind ? now + 1 : this.queue.at + 1 + (this.undecided ? first : 0);
    return { total, decided: now, left: Math.max(0, left - since), outside, place: Math.min(place, Math.max(total, 1)) };
  }

  /** A step in the browser's history. */
  follow(params) {
    const of = ({ path, ...filters }) => JSON.stringify(Object.entries(filters).sort());
    if (of(params) !== of(this.params)) this.begin(params);
    else this.actions.open(params.path, { push: false });
  }

  /** How a blind list stands: sentences, and what can be done next. */
  async ask() {
    const { queue } = this;
    const standing = await api.get("standing", { audit: this.audit, list: this.params.list, left: this.params.left, reviewer: this.reviewer, theme: this.data.theme }).catch(() => null);
    if (queue !== this.queue) return;
    this.standing = standing;
    this.render();
  }

  picture(kind, path, hash) {
    return api.picture(kind, this.audit, path, hash);
  }

  /** Whether what is decided leaves the list, so that a step passes over it. */
  get undecided() {
    return (this.params.decided ?? "no") === "no" || this.blind;
  }

  get filtered() {
    return FILTERS.some((name) => this.params[name]);
  }

  /** Draw once for all that happens in this task. */
  later() {
    this.drawing ??= setTimeout(() => {
      this.drawing = null;
      this.render();
    });
  }

  render() {
    if (this.closed || !this.queue) return;
    const item = this.queue.current;
    const here = item && (item.state === "ready" || item.state === "missing");
    this.head();
    if (here) this.ending = null;
    this.look(here ? item : null);
    const panel = here ? null : item ? used(this) : this.end();
    const state = here ? this.state(item) : panel;
    const said = JSON.stringify(state);
    // Only what has changed: the picture keeps its zoom, a button its focus.
    if (item !== this.drawn?.item || item?.suspect !== this.drawn.suspect || item?.image !== this.drawn.image || said !== this.drawn.said) {
      this.drawn = { item, suspect: item?.suspect, image: item?.image, said };
      if (here) this.view.show(item.suspect, item.image, state);
      else if (panel) this.view.panel(panel);
      else this.view.loading();
    }
    const notice = noticed(this);
    const told = JSON.stringify(notice);
    if (told !== this.noticed) this.view.notice(notice);
    this.noticed = told;
  }

  state(item) {
    return {
      keys: printed(),
      readOnly: this.data.readOnly,
      canBack: this.queue.at > 0,
      undo: this.last.newest ? this.last.newest.short : "",
      mode: item.suspect.blind ? "blind" : "suspect",
      lead: this.lead(item),
      note: this.actions.notes.get(item.path) ?? "",
      all: Boolean(item.all),
      measuring: this.measuring.of(item),
    };
  }

  lead({ suspect }) {
    if (!this.blind || !this.standing) return [];
    const { decided, total } = this.totals;
    const place = suspect.blind && this.params.list === "spot check" ? `Random check, ${Math.min(decided + 1, total)} of ${total}. ` : "";
    return [[place, ""], ...(suspect.blind ? this.standing.why : this.standing.going ?? [])];
  }

  /** A suspect counts as seen from when a frame with it was painted; anew where its keys have come to mean something else. */
  look(item) {
    const meant = item && meaning(item.suspect);
    if (item === this.onScreen && meant === this.meant) return;
    if (item !== this.onScreen) this.measuring.left();
    [this.onScreen, this.meant] = [item, meant];
    this.seen = null;
    this.since = Infinity;
    delete this.root.dataset.seen;
    if (!item) return;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (item !== this.onScreen || meant !== this.meant) return;
      this.seen = item;
      this.since = performance.now();
      this.root.dataset.seen = item.path;
      // Where nothing has the focus, the first key must find the picture.
      if (document.activeElement === document.body) this.view.focus();
    }));
    write({ ...this.params, path: item.path }, { blind: item.suspect.blind });
  }

  head() {
    const { status } = this.outbox;
    const { total, decided, left, place } = this.totals;
    const rate = this.rate ? ` · ${this.rate}` : "";
    this.view.head({
      list: TITLES[this.params.list ?? ""], at: total && this.queue.current ? place : null, total, decided,
      text: total ? `${decided.toLocaleString("en")} decided · ${left.toLocaleString("en")} left${rate}` : "", saved: saved(status, decided),
    });
    clearTimeout(this.clock);
    if (status.unsent) this.clock = setTimeout(() => this.render(), Date.now() - status.since < UNSENT_AFTER ? 200 : 1000);
  }

  /** The panel at the end of a list; null while more may come. */
  end() {
    const { queue } = this;
    if (queue.problem && !queue.began) return used(this);
    // Where the order changes all the time, what is new may lie further on.
    if (!queue.filling && queue.more && !queue.problem) queue.fill();
    if (queue.filling) return null;
    if (queue.problem) return used(this);
    if (this.ending === "asking") return null;
    if (this.ending?.queue === queue && this.ending.at === queue.items.length) return ended(this);
    this.ending = "asking";
    this.finish(queue);
    return null;
  }

  /** Nothing more is held: the server says whether anything has come since, once it knows all that was decided. */
  async finish(queue) {
    await this.outbox.flushed();
    const came = await queue.rest(this.blind);
    if (queue !== this.queue) return;
    this.actions.progress(null);
    // Where there is nothing at all, the server says what would prove it.
    if (this.blind || !this.totals.total) await this.ask();
    this.ending = came ? null : { queue, at: queue.items.length };
    queue.prepare();
    this.render();
  }

  /** A word about something that did not happen, seen and heard. */
  say(text) {
    this.view.say(text);
    this.toast.textContent = text;
    this.toast.hidden = false;
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => (this.toast.hidden = true), 2500);
  }

  close() {
    this.closed = true;
    this.view.leave();
    clearTimeout(this.clock);
    this.queue.close();
    this.outbox.close();
  }
}

/** What its keys decide. */
function meaning({ actions, classes, content_hash, given }) {
  const does = [...Object.entries(actions), ...Object.entries(classes)].map(([key, one]) => [key, one?.decision, one?.new_label]);
  return JSON.stringify([does, content_hash, given.label]);
}

/** One name for all that this tab sends. */
function tabId() {
  const kept = recall("sessionStorage", "gradattn/tab");
  const found = typeof kept === "string" ? kept : uuid();
  remember("sessionStorage", "gradattn/tab", found);
  return found;
}
