// Small pictures as cards: what is thought of each, whether it is ticked, and the keyboard's way through them.

import { isMissing, picture } from "./api.js";
import { element, svg } from "./dom.js";
import { sentenceOn } from "./fresh.js";
import { beside, cut } from "./names.js";

/** @typedef {{label: string, name: string, probability: number, text: string, role: string}} Chance */
/** @typedef {{path: string, content_hash: string, given: Chance, other: Chance, first: Chance, second: Chance,
 *   rest: number, mark: string, now: string, by: string, tags: string[], outlines: object[], said: string}} Card */

/** A small picture, which says so where its file is missing. */
export function small(audit, { path, content_hash }, kind = "small") {
  const image = element("img", { alt: "", draggable: false, decoding: "async", loading: "lazy" });
  const frame = element("span", { className: "frame skeleton" }, image);
  const ended = (missing) => {
    frame.classList.remove("skeleton");
    frame.classList.toggle("missing", missing);
    frame.classList.toggle("lost", !missing && isMissing(image));
  };
  image.onload = () => {
    ended(false);
    frame.arrived?.();
  };
  image.onerror = () => ended(true);
  frame.retry = () => {
    if (!image.src || frame.classList.contains("missing")) image.src = picture(kind, audit, path, content_hash);
  };
  // What has not come yet is not asked for any more.
  frame.rest = () => image.complete || image.removeAttribute("src");
  frame.retry();
  return frame;
}

/** The bar of probabilities: the other class, all else, the given label. */
function bar(card) {
  const parts = [
    [card.other.probability, "is-other"],
    [card.rest, "is-rest"],
    [card.given.probability, "is-given"],
  ].map(([share, className]) => {
    const part = element("span", { className });
    part.style.flexGrow = String(share);
    return part;
  });
  const shown = element("span", { className: "bar" }, ...parts);
  shown.setAttribute("aria-hidden", "true");
  return shown;
}

/** Where the evidence lies, over the middle square of the picture, which is what a card shows. */
function outlines({ width, height, outlines: parts }) {
  const side = Math.min(width, height);
  const shapes = parts.flatMap(({ sign, box: [left, top, right, bottom] }) =>
    ["edge", sign > 0 ? "is-given" : "is-other"].map((layer) =>
      svg("rect", { x: left, y: top, width: right - left, height: bottom - top, class: layer }),
    ),
  );
  const viewBox = `${(width - side) / 2} ${(height - side) / 2} ${side} ${side}`;
  return svg("svg", { viewBox, class: "outlines", "aria-hidden": "true" }, ...shapes);
}

/** The way to pictures like this one; by keyboard it is a key, so that the next card is one step away. */
function similar(href) {
  const link = element("a", { href, className: "near caption quiet", tabIndex: -1, textContent: "Similar", title: "Similar pictures, on the map: S" });
  link.setAttribute("aria-label", "Similar pictures");
  return link;
}

/**
 * One card. Its picture is a checkbox, or a link where nothing can be ticked.
 * @param {Card} card
 * @param {{href?: string, near?: string, ticks?: boolean}} options `near`: where pictures like it are
 */
export function createCard(audit, card, { href = "", near = "", ticks = true } = {}) {
  const box = element(ticks ? "button" : "a", { className: "bare box" });
  if (ticks) {
    box.type = "button";
    box.setAttribute("role", "checkbox");
  } else if (href) box.href = href;
  box.setAttribute("aria-label", card.said);
  box.tabIndex = -1;
  const frame = small(audit, card);
  box.append(frame);
  if (card.outlines.length) frame.append(outlines(card));
  if (ticks) box.append(element("span", { className: "tick" }));
  if (card.mark) box.append(element("span", { className: `mark is-${card.mark}`, textContent: card.mark }));
  const title = element(href ? "a" : "span", { href: href || null, tabIndex: -1, className: "name" }, cut(card.first.name));
  const right = card.first.role === "given";
  if (right) title.append(element("span", { className: "quiet plainly", textContent: " (right)" }));
  const below = element("span", { className: "caption quiet below" });
  below.append(right ? "or " : "filed as ", cut(card.second.name), right ? ` ${card.second.text}` : "");
  if (card.note) below.append("; ", cut(card.note));
  const lines = [
    element("span", { className: "line" }, title, element("span", { className: "chance", textContent: card.first.text })),
    bar(card),
    near ? element("span", { className: "foot" }, below, similar(near)) : below,
  ];
  if (card.now) {
    const said = card.conflict ? `${card.now} · disputed` : card.now;
    lines.push(element("span", { className: "caption below", textContent: said, title: card.by }));
  }
  if (card.tags.length) {
    lines.push(element("span", { className: "tags" }, ...card.tags.map((tag) => cut(tag, "tag"))));
  }
  const item = element("li", { className: "card" }, box, ...lines);
  item.card = card;
  item.box = box;
  item.frame = frame;
  if (card.changed) warn(item);
  else if (card.check) frame.arrived = () => check(audit, item);
  return item;
}

/** Its picture has come: whether it is still the one that the audit saw. */
async function check(audit, item) {
  item.frame.arrived = null;
  item.card.changed = await sentenceOn(audit, item.card.path);
  if (item.card.changed) warn(item);
}

function warn(item) {
  item.append(element("span", { className: "caption below warning", textContent: item.card.changed }));
  item.box.setAttribute("aria-label", `${item.card.said}. ${item.card.changed}`);
}

/** The names of classes on cards, which stand beside one another. */
export function namesOf(cards) {
  return cards.flatMap(({ given, other, first, second }) => [given, other, first, second].map((each) => each?.name));
}

/** Cards of which one has the focus, and what keys and pointers do to them. */
export class Board {
  /**
   * @param {{audit: string, has: (path: string) => boolean, tick: (paths: string[], on: boolean) => void,
   *   enter: (card: Card) => void, large: object, label: string, ticks?: boolean, href?: (card: Card) => string,
   *   near?: (card: Card) => string, alike?: (card: Card) => void}} does `near` the address of similar pictures, `alike` goes there
   */
  constructor(does) {
    this.does = { ticks: true, href: () => "", near: () => "", ...does };
    this.items = [];
    this.at = 0;
    this.anchor = 0;
    this.root = element("div", { className: "board" });
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("keyup", (event) => this.release(event));
    this.root.addEventListener("focusout", () => this.letGo());
    this.root.addEventListener("click", (event) => this.click(event));
    this.root.addEventListener("pointerover", (event) => this.hover(event));
    this.root.addEventListener("pointerleave", () => this.does.large.hide());
  }

  /** @param {{heading: Node[], tools?: Node[], cards: Card[]}[]} groups */
  show(groups) {
    const before = this.items[this.at]?.card.path;
    const focused = this.hasFocus;
    this.items = [];
    beside(namesOf(groups.flatMap(({ cards }) => cards)));
    const sections = groups.map(({ heading, tools = [], cards }) => {
      const items = cards.map((card) => createCard(this.does.audit, card, { href: this.does.href(card), near: this.does.near(card), ticks: this.does.ticks }));
      this.items.push(...items);
      const list = element("ul", { className: "cards" }, ...items);
      if (!heading.length) {
        list.setAttribute("aria-label", this.does.label);
        return list;
      }
      return element("section", {}, element("div", { className: "head" }, element("h2", {}, ...heading), ...tools), list);
    });
    this.root.replaceChildren(...sections);
    const again = this.items.findIndex(({ card }) => card.path === before);
    this.rove(again >= 0 ? again : Math.min(this.at, this.items.length - 1));
    this.anchor = this.at;
    this.mark();
    if (focused) this.focus();
  }

  get hasFocus() {
    return this.root.contains(this.root.getRootNode().activeElement);
  }

  focus() {
    this.items[this.at]?.box.focus({ preventScroll: true });
  }

  mark() {
    for (const { box, card } of this.items) {
      const on = this.does.has(card.path);
      if (this.does.ticks) box.setAttribute("aria-checked", String(on));
      box.parentElement.classList.toggle("is-on", on);
    }
  }

  retry() {
    for (const { frame } of this.items) frame.retry();
  }

  /** Other pictures are about to come in the place of these, and those that are still on their way must not delay them. */
  rest() {
    for (const { frame } of this.items) frame.rest();
  }

  rove(at) {
    if (this.items[this.at]) this.items[this.at].box.tabIndex = -1;
    this.at = Math.max(0, at);
    if (this.items[this.at]) this.items[this.at].box.tabIndex = 0;
  }

  move(to, extending) {
    const at = Math.max(0, Math.min(this.items.length - 1, to));
    this.rove(at);
    this.items[at]?.box.focus();
    if (extending && this.does.ticks) this.tick(this.range(this.anchor, at), true);
    else this.anchor = at;
  }

  range(from, to) {
    return this.items.slice(Math.min(from, to), Math.max(from, to) + 1).map(({ card }) => card.path);
  }

  tick(paths, on) {
    this.does.tick(paths, on);
    this.mark();
  }

  toggle(at) {
    const { path } = this.items[at].card;
    this.tick([path], !this.does.has(path));
  }

  /** How many cards stand in the first row: arrows up and down move by that. */
  get columns() {
    const top = this.items[0]?.offsetTop;
    const first = this.items.findIndex((item) => item.offsetTop !== top);
    return first < 0 ? this.items.length : first;
  }

  key(event) {
    const at = this.items.findIndex(({ box }) => box === event.target);
    if (at < 0 || event.altKey || event.isComposing) return;
    const select = event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey);
    if (select && this.does.ticks) this.tick(this.range(0, this.items.length - 1), true);
    else if (event.ctrlKey || event.metaKey) return;
    else if (event.key === " ") this.press(event, at);
    else if (event.key.toLowerCase() === "s" && this.does.alike) event.repeat || this.does.alike(this.items[at].card);
    else if (event.key === "Enter") event.repeat || this.does.enter(this.items[at].card);
    else {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
      const ends = { Home: 0, End: this.items.length - 1 }[event.key];
      if (step === undefined && ends === undefined) return;
      if (step === undefined || this.items[at + step]) this.move(ends ?? at + step, event.shiftKey);
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** A short press of Space ticks; a long one shows the picture large and ticks nothing. */
  press(event, at) {
    if (event.repeat || this.pressed) return;
    const { box, card } = this.items[at];
    this.pressed = { at, timer: setTimeout(() => this.enlarge(card, box), 250), large: false };
  }

  enlarge(card, box) {
    if (this.pressed) this.pressed.large = true;
    this.does.large.show(card, box);
  }

  release(event) {
    if (event.key !== " " || !this.pressed) return;
    event.preventDefault(); // a button would be clicked too
    const { at, large } = this.pressed;
    this.letGo();
    if (!large && this.does.ticks) this.toggle(at);
  }

  letGo() {
    if (!this.pressed) return;
    clearTimeout(this.pressed.timer);
    this.pressed = null;
    this.does.large.hide();
  }

  click(event) {
    const at = this.items.findIndex(({ box }) => box.contains(event.target));
    if (at < 0) return;
    this.does.large.hide();
    if (!this.does.ticks) return;
    event.preventDefault();
    const { path } = this.items[at].card;
    if (event.shiftKey) this.tick(this.range(this.anchor, at), !this.does.has(path));
    else {
      this.toggle(at);
      this.anchor = at;
    }
    this.rove(at);
    this.items[at].box.focus({ preventScroll: true });
  }

  hover(event) {
    if (event.pointerType !== "mouse") return;
    const item = this.items.find(({ box }) => box.contains(event.target));
    if (item) this.does.large.soon(item.card, item.box);
    else this.does.large.hide();
  }
}
