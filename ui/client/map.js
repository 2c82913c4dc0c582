// The map of the dataset: pictures that the model sees alike lie near each other; what is selected goes on to Review
// or Grid.

import { address, go, onLink, read } from "./address.js";
import { get, post } from "./api.js";
import { createCard } from "./cards.js";
import { element, fill, styled, typing } from "./dom.js";
import { recall, remember } from "./kept.js";
import { beside } from "./names.js";
import { createFinder } from "./finder.js";
import { listen } from "./gestures.js";
import { count, createPanel, told, whole } from "./picked.js";
import { coloursOf, createLegend, createPlane } from "./plane.js";
import { Plot } from "./plot.js";
import { waitForPoints } from "./waiting.js";

const FOLLOW = 15_000; // milliseconds between two looks at what was decided meanwhile
const RINGED = 40;
const SHOWN = {
  all: ["all", () => true],
  suspects: ["suspects", (state) => state !== "."],
  undecided: ["undecided", (state) => "wer".includes(state)],
  wrong: ["probably wrong", (state) => state === "w"],
  decided: ["decided", (state) => state === "d"],
};

export async function mount({ root, data, onData, signal }) {
  // Asked for at once: of 50,000 points the answer takes longer than all that it is drawn with.
  let map = null;
  let words = null;
  const answer = waitForPoints(data.audit, signal, (...said) => (map ? map.say(...said) : (words = said)));
  await styled(root, "cards.css", "map.css");
  if (signal.aborted) return;
  map = new DatasetMap(root, data, signal);
  if (words) map.say(...words);
  onData((next) => map.told(next));
  const points = await answer;
  if (points) map.arrive(points);
}

class DatasetMap {
  constructor(root, data, signal) {
    Object.assign(this, { root, data, signal, mode: "lasso", points: null, chosen: null, polygon: [], ringed: [] });
    this.build();
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    document.addEventListener("visibilitychange", () => this.follow(), { signal });
    const timer = setInterval(() => this.follow(), FOLLOW);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  build() {
    Object.assign(this, createPlane(this.root, coloursOf(this.root), {
      mode: (mode) => this.setMode(mode),
      filter: () => this.filter(),
      zoom: (factor) => (factor ? this.plot.zoom(factor) : this.plot.fit()),
      finder: createFinder({
        find: (text) => get("map/find", { audit: this.data.audit, text }),
        choose: (path) => this.near(path),
      }).root,
    }));
    this.plot = new Plot(this.canvas, this.labels, coloursOf(this.root));
    this.plot.onDraw = (milliseconds) => {
      this.canvas.dataset.milliseconds = milliseconds.toFixed(1);
      this.drawLasso();
    };
    this.panel = createPanel(this.side, {
      audit: this.data.audit,
      cards: (paths) => this.cards(paths),
      choose: (indices, title) => this.other(indices, { title, fit: true }),
      review: () => this.leave("review"),
      grid: () => this.leave("grid"),
      clear: () => this.clear(),
      near: (path) => this.near(path),
      hover: (index) => this.mark(index),
      href: (card) => `review?${new URLSearchParams({ audit: this.data.audit, path: card.path })}`,
    });
    listen(this.area, this.plot, {
      mode: () => this.mode,
      lasso: (polygon, done) => this.lasso(polygon, done),
      hover: (index) => this.hover(index),
      click: (index) => (index < 0 ? this.clear() : this.other([index], { title: null })),
    }, this.signal);
    onLink(this.root, (page, query) => {
      this.remember();
      go(page, query);
    });
    new ResizeObserver(() => this.points && this.plot.resize()).observe(this.canvas);
    this.setMode("lasso");
  }

  told(data) {
    const repaint = data.theme !== this.data.theme;
    const near = data.near !== this.data.near ? data.near : null;
    this.data = data;
    if (repaint) {
      this.plot.colours = coloursOf(this.root);
      this.plot.stamps = null;
      this.plot.redraw();
      this.legend.replaceWith((this.legend = createLegend(this.plot.colours)));
    }
    if (near && this.points) this.near(near);
  }

  say(text, again = null) {
    const parts = [element("p", { textContent: text })];
    if (again) parts.push(element("button", { type: "button", textContent: "Try again", onclick: again }));
    fill(this.message, ...parts);
    this.message.hidden = false;
  }

  arrive({ points }) {
    this.message.hidden = true;
    beside(points.classes.map(({ name }) => name));
    this.points = { ...points, place: new Map(points.paths.map((path, at) => [path, at])) };
    const [drawn, images] = [points.paths.length, points.images];
    const part = drawn < images ? `${whole(drawn)} of ${whole(images)}, ${points.missing
      ? `all suspects included but ${whole(points.missing)} that were found since` : "all suspects included"}. ` : "";
    this.note.textContent = `${part}Pictures that the model sees alike lie near each other. `
      + "Only near distances mean something; the axes have no unit.";
    this.plot.show(this.points);
    this.options();
    this.describe();
    if (!this.restore()) this.panel.overview(this.points);
    if (this.data.near) this.near(this.data.near);
    this.root.dataset.ready = "1";
    // Of a million pictures they take a third of the time, and the points need not wait for them.
    get("progress", { audit: this.data.audit }).then((found) => this.standing({ suspects: found.suspects, decided: found.suspects_decided }), () => {});
  }

  standing({ suspects, decided }) {
    this.status.textContent = !suspects ? "" : `${whole(decided)} of ${whole(suspects)} decided · ${whole(suspects - decided)} left`;
  }

  options() {
    const { states } = this.points;
    const before = this.shown.value || "all";
    fill(this.shown, ...Object.entries(SHOWN).map(([value, [text, lets]]) => {
      let some = 0;
      for (const state of states) if (lets(state)) some++;
      return element("option", { value, textContent: `Show: ${text} ${whole(some)}` });
    }));
    this.shown.value = before;
  }

  describe() {
    const all = this.points.paths.map((_, at) => at);
    this.canvas.setAttribute("aria-label", `Map of ${whole(all.length)} pictures: ${
      told(count(this.points.states, all)).join(", ")}.`);
  }

  filter() {
    const lets = SHOWN[this.shown.value][1];
    this.plot.filter = this.shown.value === "all" ? null : (at) => lets(this.points.states[at]);
    this.plot.sort();
  }

  setMode(mode) {
    this.mode = mode;
    this.area.dataset.mode = mode;
    for (const [name, button] of Object.entries(this.modes)) button.setAttribute("aria-pressed", String(name === mode));
  }

  lasso(polygon, done) {
    this.polygon = polygon;
    this.drawLasso();
    if (!done) return;
    const found = polygon.length > 2 ? this.plot.within(polygon) : [];
    if (found.length) this.other(found, { polygon });
    else this.clear();
  }

  drawLasso() {
    const places = this.polygon.map((each) => this.plot.outside(each));
    const way = places.map(({ x, y }, at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    this.path.setAttribute("d", places.length > 1 ? `${way}Z` : "");
  }

  /** Something else is selected than the pictures that the address asks for: coming back must not lead to those. */
  other(indices, how) {
    this.forget();
    this.choose(indices, how);
  }

  forget() {
    if (read(["near"]).near) history.replaceState(history.state, "", address("map", read(["audit"])));
  }

  /** Select pictures: those in a lasso, of a class, or like another one. */
  choose(indices, { title = null, polygon = [], paths = null, cards = null, fit = false } = {}) {
    Object.assign(this, { chosen: indices, polygon, how: { title, polygon, paths } });
    // What lies in a lasso is seen to; more rings than these would hide what they are around.
    this.ringed = polygon.length || indices.length > RINGED ? [] : indices;
    this.plot.marked = this.ringed;
    this.plot.kept = null;
    if (!polygon.length && indices.length > RINGED) {
      this.plot.kept = new Uint8Array(this.points.paths.length);
      for (const at of indices) this.plot.kept[at] = 1;
    }
    if (fit && indices.length > 1) this.plot.fit(indices);
    this.plot.redraw();
    this.panel.selection(this.points, indices, title, paths, cards);
    this.heard.textContent = `${whole(indices.length)} selected: ${told(count(this.points.states, indices)).join(", ")}.`;
  }

  clear() {
    this.forget();
    Object.assign(this, { chosen: null, polygon: [], ringed: [] });
    Object.assign(this.plot, { marked: [], kept: null });
    this.plot.redraw();
    this.panel.overview(this.points);
    this.heard.textContent = "Nothing is selected.";
  }

  mark(index) {
    this.plot.marked = index < 0 ? this.ringed : [...this.ringed, index];
    this.plot.redraw();
  }

  /** The pictures most like one of them, wherever they lie. */
  async near(path) {
    const answer = await get("map/similar", { audit: this.data.audit, path }).catch((error) => this.complain(error));
    if (!answer) return;
    const { paths, cards } = answer;
    const indices = paths.map((each) => this.points.place.get(each)).filter((at) => at !== undefined);
    const shown = new Set(cards.map((card) => card.path));
    const title = paths.length > 1 ? ["Similar pictures"] : ["No picture is known to be similar"];
    this.choose(indices, { title, paths: paths.filter((each) => shown.has(each)), cards, fit: true });
  }

  cards(paths) {
    return post("map/cards", { audit: this.data.audit, paths });
  }

  /** What could not be done just now, in one sentence that goes by itself. */
  complain(error) {
    if (this.signal.aborted) return;
    this.trouble.textContent = error.status ? error.message : "No connection to the server: try again in a moment.";
    clearTimeout(this.troubled);
    this.troubled = setTimeout(() => (this.trouble.textContent = ""), 8_000);
  }

  /** The picture under the pointer, beside it. */
  async hover(index) {
    this.over = index;
    this.mark(index);
    this.preview.hidden = true;
    if (index < 0) return;
    const [card] = await this.cards([this.points.paths[index]]).catch(() => []);
    if (this.over !== index || !card || this.signal.aborted) return;
    fill(this.preview, createCard(this.data.audit, card, { ticks: false }));
    const { x, y } = this.plot.outside({ x: this.points.x[index], y: this.points.y[index] });
    const { clientWidth, clientHeight } = this.area;
    this.preview.hidden = false;
    const { offsetWidth, offsetHeight } = this.preview;
    this.preview.style.left = `${x + 20 + offsetWidth > clientWidth ? Math.max(4, x - 20 - offsetWidth) : x + 20}px`;
    this.preview.style.top = `${Math.max(4, Math.min(clientHeight - offsetHeight - 4, y - offsetHeight / 2))}px`;
  }

  key(event) {
    if (!this.points || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing()) return;
    const active = this.root.getRootNode().activeElement;
    const does = {
      l: () => this.setMode("lasso"), h: () => this.setMode("move"), "+": () => this.plot.zoom(1.5),
      "=": () => this.plot.zoom(1.5), "-": () => this.plot.zoom(1 / 1.5), 0: () => this.plot.fit(),
      Escape: () => this.clear(), g: () => !event.repeat && this.leave("grid"),
      Enter: () => !event.repeat && this.leave("review"),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!does || (event.key === "Enter" && active?.closest("button, a, select, summary"))) return;
    event.preventDefault();
    does();
  }

  /** With the selection to another page; only what is undecided is reviewed. */
  async leave(page) {
    if (!this.chosen?.length || this.leaving) return;
    const open = page === "review" ? this.chosen.filter((at) => "wer".includes(this.points.states[at])) : this.chosen;
    if (!open.length) return;
    this.leaving = true;
    try {
      const paths = open.map((at) => this.points.paths[at]);
      const body = { audit: this.data.audit, paths, reviewer: this.data.reviewer };
      const { selection } = await post("map/select", body);
      this.remember();
      go(page, { audit: this.data.audit, selection, decided: page === "grid" ? "any" : "no" });
    } catch (error) {
      this.complain(error);
    } finally {
      this.leaving = false;
    }
  }

  remember() {
    const kept = { view: this.plot.view, chosen: this.chosen, polygon: this.polygon, count: this.points.paths.length };
    remember("sessionStorage", `gradattn-map ${this.data.audit}`, kept);
  }

  /** As it was when somebody left for Review or Grid. */
  restore() {
    const name = `gradattn-map ${this.data.audit}`;
    const kept = recall("sessionStorage", name);
    remember("sessionStorage", name, null);
    if (!kept || kept.count !== this.points.paths.length || this.data.near) return false;
    this.plot.view = kept.view;
    if (!kept.chosen) return false;
    this.choose(kept.chosen, { polygon: kept.polygon });
    return true;
  }

  /** What was decided meanwhile, here or elsewhere. */
  async follow() {
    if (!this.points || document.hidden) return;
    const answer = await get("map/states", { audit: this.data.audit }).catch(() => null);
    if (!answer || answer.states === this.points.states || answer.states.length !== this.points.states.length) return;
    this.points.states = answer.states;
    this.standing(answer.progress);
    this.plot.sort();
    this.options();
    this.describe();
    if (this.chosen) this.choose(this.chosen, this.how);
    else this.panel.overview(this.points);
  }
}
