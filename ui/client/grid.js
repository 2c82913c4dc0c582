// Grid: many suspects at a glance, selected across pages, decided together only after a look at each.

import { go, onLink, onStep } from "./address.js";
import { Ahead } from "./ahead.js";
import { get, post } from "./api.js";
import { createBar } from "./bulk.js";
import { Board, namesOf } from "./cards.js";
import { Chips } from "./chips.js";
import { element, styled, typing } from "./dom.js";
import { grouped } from "./groups.js";
import { beside } from "./names.js";
import { keepPlace, keptPlace, scroller, Selection } from "./kept.js";
import { createLarge } from "./large.js";
import { Listed } from "./listed.js";
import { createPager, createSize, placeOf } from "./pager.js";
import { Together } from "./together.js";

const SURE = 90; // percent: where the threshold stands until it is moved
const NOTHING = { bins: [], steps: [], above: "", undecided: 0, check: "" };

export async function mount({ root, data, onData, signal }) {
  await styled(root, "controls.css", "cards.css", "grid.css");
  const grid = new Grid(root, data, signal);
  onData((next) => grid.tell(next));
}

class Grid {
  constructor(root, data, signal) {
    Object.assign(this, { root, data, signal });
    this.listed = new Listed(data.choices.orders);
    this.ahead = new Ahead(data.audit, signal);
    this.least = SURE;
    this.told = { sentence: "", undoable: false };
    this.answer = null;
    this.histogram = NOTHING;
    this.known = false; // whether the histogram is of the list in force
    this.picked = null;
    this.selection = new Selection(data.audit, () => this.selected());
    this.build();
    addEventListener("keydown", (event) => this.key(event), { signal });
    addEventListener("pagehide", () => this.keep(), { signal });
    addEventListener("online", () => this.refresh(), { signal });
    onStep(() => {
      this.listed.read();
      this.chips.show(this.listed.named);
      this.refresh();
    }, signal);
    this.refresh({ first: true });
  }

  get audit() {
    return this.data.audit;
  }

  /** What a decision about many is about: what is selected, or all of the list above the threshold. */
  get these() {
    const { size, paths, above } = this.selection;
    return size ? { paths, ...(above ? { above } : {}) } : { above: this.least };
  }

  build() {
    this.heard = element("div", { className: "heard", role: "status" });
    const slot = element("div", { className: "slot" });
    this.chips = new Chips(slot, {
      ...{ audit: this.audit, choices: this.data.choices, page: "grid", get },
      post: (path, body) => post(path, { ...body, reviewer: this.together.reviewer }),
      onChange: (params) => this.filter(params),
      left: () => this.board.focus(),
    });
    this.chips.show(this.listed.named);
    this.above = element("button", { type: "button", className: "small", onclick: () => this.selectAbove() });
    this.board = new Board({
      audit: this.audit,
      ticks: !this.data.readOnly,
      has: (path) => this.selection.has(path),
      tick: (paths, on) => this.selection.set(paths, on),
      enter: (card) => this.open(card.path),
      href: (card) => this.listed.address("review", { ...this.listed.named, path: card.path }),
      near: (card) => this.listed.address("map", { near: card.path }),
      alike: (card) => this.leave("map", { near: card.path }),
      large: createLarge(this.root, this.audit),
      label: "Pictures",
    });
    const width = createSize((pixels) => this.board.root.style.setProperty("--card", `${pixels}px`));
    this.outlines = element("button", { type: "button", className: "small toggle", textContent: "Evidence" });
    this.outlines.title = "Draw in what speaks for the given label (red) and for the other class (blue)";
    this.outlines.onclick = () => this.turn({ outlines: this.listed.outlines ? "" : "1" });
    this.place = element("span", { className: "caption quiet" });
    this.pager = createPager((change) => this.turn(change));
    const dialogs = element("div");
    this.together = new Together({
      dialogs,
      data: () => this.data,
      filters: () => this.listed.filters,
      signal: this.signal,
      say: (sentence, undoable) => this.say(sentence, undoable),
      changed: (paths) => this.decided(paths),
      review: (paths) => this.reviewThese(paths),
      focus: () => this.board.focus(),
    });
    this.bar = createBar({
      least: (percent) => this.threshold(percent),
      decide: (decision) => this.together.ask(decision, this.these),
      review: () => this.review(),
      clear: () => this.selection.clear(),
      undo: () => this.together.undo(),
    });
    const tools = element("div", { className: "tools" }, this.above, this.outlines, width, this.place);
    const head = element("header", { className: "grid-head" }, slot, tools);
    this.status = element("span", { className: "status caption quiet" });
    const title = element("h1", { className: "heard", textContent: "Grid" });
    this.root.classList.add("grid");
    this.root.append(title, this.heard, this.status, head, this.board.root, this.pager.root, this.bar.root, dialogs);
    // Before there is anything to act upon, nothing offers to.
    for (const part of [this.above, this.pager.root, this.bar.root]) part.hidden = true;
    onLink(this.root, (page, query) => {
      this.keep();
      if (page === "grid") this.filter(query);
      else go(page, query);
    });
  }

  /** The page has run again: a new token, perhaps another name. */
  tell(data) {
    this.data = data;
    this.board.retry();
    this.bars();
  }

  /** Another page, or another number of pictures. */
  turn(change) {
    this.follow({ ...this.listed.params, ...("size" in change ? { page: "" } : {}), ...change });
    this.board.rest();
    this.refresh({ turned: true }).then(() => "page" in change && scroller(this.root).scrollTo({ top: 0 }));
  }

  /** Another list or order, which begins at its first page. */
  filter(params) {
    const { audit, size, outlines } = this.listed.params;
    this.follow({ audit, size, outlines, ...params });
    this.refresh();
  }

  follow(params) {
    this.listed.write(params);
    this.chips.show(this.listed.named);
  }

  /**
   * Ask for the list and the histogram anew, and show both.
   * @param {{first?: boolean, turned?: boolean}} how `first`: the pictures do not wait for the histogram; `turned`: to
   *   another page of the same list, whose histogram is known and whose cards may be at hand already
   */
  async refresh({ first = false, turned = false } = {}) {
    const asked = (this.asked = Symbol("asked"));
    const { filters, order, size, page, outlines } = this.listed;
    const list = { audit: this.audit, ...filters, order, as: "card", count: size, ...(outlines && { outlines }) };
    this.known &&= turned;
    const questions = [this.ahead.cards({ ...list, offset: (page - 1) * size }, turned)];
    if (!first && !this.known) questions.push(this.estimate());
    const answers = await this.together.answer(Promise.all(questions));
    if (!answers) this.board.retry();
    if (!answers || asked !== this.asked) return;
    this.answer = answers[0];
    if (answers[1]) [this.histogram, this.known] = [answers[1], true];
    const pages = Math.max(1, Math.ceil(this.answer.total / size));
    if (page > pages) return void this.turn({ page: String(pages) });
    this.draw();
    if (page < pages) this.ahead.fetch({ ...list, offset: page * size });
    if (!first) return;
    this.arrive();
    const histogram = await this.together.answer(this.estimate());
    if (!histogram || asked !== this.asked) return;
    [this.histogram, this.known] = [histogram, true];
    this.bars();
  }

  estimate() {
    return get("histogram", { audit: this.audit, ...this.listed.filters }, { signal: this.signal });
  }

  draw() {
    const { suspects, total } = this.answer;
    const { order, page, size, outlines } = this.listed;
    this.pager.root.hidden = this.bar.root.hidden = false;
    beside(namesOf(suspects)); // before the headings of their groups are made
    const select = this.data.readOnly ? null : (paths) => this.select(paths);
    const pairOf = ({ given, other }) => this.listed.address("pair", { given: given.label, suggested: other.label || "none" });
    this.board.show(total ? grouped(order, suspects, select, pairOf) : []);
    if (!total) this.board.root.append(this.empty());
    this.outlines.setAttribute("aria-pressed", String(outlines));
    this.pager.show({ page, size, total });
    this.place.textContent = total ? placeOf(page, size, total) : "";
    this.status.textContent = this.answer.all ? this.answer.progress : "";
    this.selected();
  }

  empty() {
    const { outside, all } = this.answer;
    const said = (words, page, text) => element("p", { className: "empty" }, words, element("a", { href: this.listed.address(page, {}), textContent: text }));
    if (Object.keys(this.listed.filters).length) {
      const rest = outside ? `${outside.toLocaleString("en")} undecided are outside this filter. ` : "";
      return said(`Nothing matches. ${rest}`, "grid", "Clear filter");
    }
    if (all) return said(`All ${all.toLocaleString("en")} suspects are decided. `, "overview", "Overview");
    return said("No suspects. That is no proof that every label is right: only a random check can tell. ", "overview", "Overview");
  }

  bars() {
    const step = this.histogram.steps.find(({ at }) => at === this.least) ?? null;
    this.above.textContent = `Select those above ${this.least}%`;
    this.above.hidden = this.data.readOnly || !step?.count;
    this.bar.show({
      histogram: this.histogram,
      step,
      least: this.least,
      picked: this.picked,
      readOnly: this.data.readOnly,
      told: this.told.sentence,
      canUndo: this.told.undoable && !this.data.readOnly,
      listed: Boolean(this.answer?.total),
    });
  }

  threshold(percent) {
    this.least = percent;
    this.bars();
  }

  select(paths) {
    this.selection.set(paths, true);
  }

  async selectAbove() {
    const preview = await this.together.preview("accept", { above: this.least });
    if (!preview) return;
    this.selection.replace(preview.choices.map(({ card }) => card.path), this.least);
    this.say(preview.note); // where there are more than can be decided together
  }

  /** The cards show the selection at once; what the bar says of it follows a moment after its last change. */
  selected() {
    this.board?.mark();
    clearTimeout(this.soon);
    const count = this.selection.size;
    this.picked = count ? { count, step: null } : null;
    this.bars();
    if (!count || this.data.readOnly) return;
    this.soon = setTimeout(async () => {
      const paths = this.selection.paths;
      const preview = await this.together.preview("accept", this.these);
      if (!preview || paths.join() !== this.selection.paths.join()) return;
      this.picked = { count, step: preview.step };
      this.bars();
    }, 150);
  }

  /** After a decision: what is decided is selected no more, what comes next moves up, the focus keeps its place. */
  async decided(paths = []) {
    const { at } = this.board;
    this.selection.set(paths, false);
    await this.refresh();
    this.board.rove(Math.min(at, this.board.items.length - 1));
    this.board.focus();
  }

  review() {
    if (this.selection.size) this.reviewThese(this.selection.paths);
    else this.leave("review", this.listed.named);
  }

  /** Review takes pictures that were selected by the id they are kept under. */
  async reviewThese(paths) {
    const answer = await this.together.answer(post("map/select", { audit: this.audit, paths }));
    if (answer) this.leave("review", { selection: answer.selection, order: this.listed.order });
  }

  open(path) {
    this.leave("review", { ...this.listed.named, path });
  }

  leave(page, query) {
    this.keep();
    go(page, { audit: this.listed.params.audit, ...query });
  }

  key(event) {
    const busy = this.chips.open || this.root.querySelector("dialog[open]") || typing() || event.repeat || event.defaultPrevented;
    if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const onControl = event.composedPath()[0]?.closest?.("button, a, summary, input");
    if (event.key === "Escape" && this.selection.size) this.selection.clear();
    else if (event.key.toLowerCase() === "z") this.together.undo();
    else if (event.key === "Enter" && !onControl) this.review();
    else return;
    event.preventDefault();
  }

  say(sentence, undoable = false) {
    this.told = { sentence, undoable };
    this.heard.textContent = sentence;
    this.bars();
  }

  /** Back where one was: after Review, a reload or the browser's Back. */
  arrive() {
    const kept = keptPlace(`grid ${this.audit}`);
    const at = kept ? this.board.items.findIndex(({ card }) => card.path === kept.path) : -1;
    if (at >= 0) this.board.rove(at);
    // The first picture is at hand for the keyboard, unless somebody is elsewhere already.
    if ([null, document.body].includes(document.activeElement)) this.board.focus();
    if (kept) scroller(this.root).scrollTop = kept.top;
    this.heard.textContent = `Pictures ${this.place.textContent}.`;
  }

  keep() {
    keepPlace(`grid ${this.audit}`, this.root, this.board.items[this.board.at]?.card.path ?? "");
  }
}
