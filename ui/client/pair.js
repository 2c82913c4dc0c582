// Class pair: suspects filed as one class that look like another, on a line between typical pictures of the two.

import { address, go, onLink, onStep, read, write } from "./address.js";
import { get, post } from "./api.js";
import { createCrop, createLine } from "./between.js";
import { createCard, namesOf, small } from "./cards.js";
import { element, fill, styled, typing } from "./dom.js";
import { beside, cut, rich } from "./names.js";
import { keepPlace, keptPlace, scroller } from "./kept.js";
import { createLarge } from "./large.js";
import { Together } from "./together.js";

export async function mount({ root, data, onData, signal }) {
  await styled(root, "cards.css", "pair.css");
  const page = new PairPage(root, data, signal);
  onData((next) => (page.data = next));
}

class PairPage {
  constructor(root, data, signal) {
    Object.assign(this, { root, data, signal });
    this.pair = null;
    this.follow(read());
    this.heard = element("div", { className: "heard", role: "status" });
    this.body = element("div", { className: "pair-body" });
    this.told = element("p", { className: "told" });
    this.acts = element("div", { className: "acts" });
    this.bar = element("div", { className: "pair-bar" }, this.told, this.acts);
    const dialogs = element("div");
    this.large = createLarge(root, data.audit);
    this.together = new Together({
      dialogs,
      data: () => this.data,
      filters: () => ({ given: this.given, suggested: this.suggested || "none" }),
      signal,
      say: (sentence, undoable) => this.say(sentence, undoable),
      changed: () => this.refresh(),
      review: (paths) => this.reviewThese(paths),
      focus: () => this.acts.querySelector("button")?.focus(),
    });
    root.classList.add("pair");
    root.append(this.heard, this.body, this.bar, dialogs);
    onLink(root, (page, query) => {
      if (page !== "pair") return void this.leave(page, query);
      this.follow(query);
      this.show(this.wanted);
    });
    addEventListener("keydown", (event) => this.key(event), { signal });
    addEventListener("pagehide", () => this.keep(), { signal });
    onStep((params) => {
      this.follow(params);
      this.refresh();
    }, signal);
    this.refresh().then(() => {
      const kept = keptPlace("pair");
      if (kept) scroller(root).scrollTop = kept.top;
    });
  }

  /** Another pair is wanted; all that is done is about the one that is shown, until its answer has come. */
  follow({ given = "", suggested = "", audit }) {
    this.wanted = { given, suggested: suggested === "none" ? "" : suggested };
    this.named = audit;
  }

  get given() {
    return this.pair.given.label;
  }

  get suggested() {
    return this.pair.other.label;
  }

  get audit() {
    return this.data.audit;
  }

  address(page, query) {
    return address(page, { audit: this.named, ...query });
  }

  query({ given, suggested }) {
    return { audit: this.named, given, suggested: suggested || "none" };
  }

  pairAt(pair) {
    return address("pair", this.query(pair));
  }

  /** This pair's list, for Review or Grid. */
  listed(query = {}) {
    return { audit: this.named, given: this.given, suggested: this.suggested || "none", ...query };
  }

  async refresh() {
    const asked = (this.asked = { audit: this.audit, ...this.wanted });
    const pair = await this.together.answer(get("pair", asked, { signal: this.signal }).then((found) => ({ found })));
    if (!pair || asked !== this.asked) return;
    this.pair = pair.found;
    if (!this.pair) return void this.nothing();
    this.wanted = { given: this.given, suggested: this.suggested };
    write(this.query(this.wanted));
    this.draw(this.pair);
    if (this.pair.remark) this.say(this.pair.remark);
  }

  nothing() {
    const words = element("p", { textContent: "No label of this audit is in doubt, so there are no pairs of classes to look into. " });
    words.append(element("a", { href: this.address("overview", {}), textContent: "Overview" }));
    fill(this.body, element("h1", { textContent: "Class pairs" }), words);
    this.bar.hidden = true;
  }

  draw(pair) {
    const cards = namesOf(pair.zones.flatMap((zone) => zone.cards));
    beside([...cards, pair.given.name, pair.other.name, ...pair.given.labels, ...pair.other.labels, ...pair.decided.map(({ text }) => text)]);
    fill(
      this.body,
      this.head(pair),
      element(
        "div",
        { className: "sides" },
        this.side(pair.given, "given"),
        element("div", { className: "between" }, createLine(pair), this.zones(pair), this.rest(pair), this.crops(pair)),
        this.side(pair.other, "other"),
      ),
    );
    this.buttons(pair);
  }

  head(pair) {
    const to = (other, text) => other && element("a", { href: this.pairAt(other), textContent: text, title: other.text });
    const all = element("select", { className: "caption" }, ...pair.pairs.map(({ text, left }, index) =>
      element("option", { value: index, textContent: `${text} · ${left ? `${left.toLocaleString("en")} left` : "decided"}` })));
    all.setAttribute("aria-label", "Class pairs, those with the most wrong labels first");
    if (pair.number <= pair.pairs.length) all.value = String(pair.number - 1);
    all.onchange = () => this.show(pair.pairs[Number(all.value)]);
    return element(
      "header",
      {},
      element("nav", { className: "caption quiet", "aria-label": "Class pairs" }, `Class pair ${pair.number} of ${pair.of}`, to(pair.before, "previous"), to(pair.after, "next"), all),
      element("h1", {}, ...rich(pair.headline)),
      element("p", { className: "lead" }, ...rich(pair.sentence)),
    );
  }

  show({ given, suggested }) {
    this.wanted = { given, suggested };
    write(this.query(this.wanted), { push: true });
    this.refresh().then(() => scroller(this.root).scrollTo({ top: 0 }));
  }

  side(side, role) {
    const title = element("h2", {}, cut(side.name, role), element("span", { className: "caption quiet", textContent: ` ${side.note}` }));
    if (side.labels.length) {
      return element("section", { className: "side" }, title, element("ul", { className: "labels" }, ...side.labels.map((label) => element("li", {}, cut(label)))));
    }
    return element("section", { className: "side" }, title, this.tinies(side.pictures, `Filed as ${side.name}`));
  }

  /** Small pictures to look at; each opens in Review, and shows large under the pointer. */
  tinies(pictures, says) {
    const items = pictures.map((each) => {
      const link = element("a", { className: "tiny", href: this.address("review", { path: each.path }) }, small(this.audit, each));
      if (each.text) link.append(element("span", { className: "plate" }, cut(each.text)));
      link.setAttribute("aria-label", each.text ? `${says}: ${each.text}` : says);
      link.onpointerenter = (event) => event.pointerType === "mouse" && this.large.soon({ ...each, name: each.text || says }, link);
      link.onpointerleave = () => this.large.hide();
      return element("li", {}, link);
    });
    return element("ul", { className: "tinies" }, ...items);
  }

  zones(pair) {
    const shown = pair.zones.filter(({ count }) => count).map((zone) => {
      const role = zone.name === "open" ? "" : zone.name;
      const title = element("h2", {}, cut(zone.title, role));
      const cards = zone.cards.map((card) => {
        const item = createCard(this.audit, card, { href: address("review", this.listed({ path: card.path })), ticks: false });
        item.box.tabIndex = 0;
        item.box.onpointerenter = (event) => event.pointerType === "mouse" && this.large.soon(card, item.box);
        item.box.onpointerleave = () => this.large.hide();
        return item;
      });
      const more = zone.count - zone.cards.length;
      const rest = more ? element("a", { href: address("grid", this.listed()), textContent: `${more.toLocaleString("en")} more in Grid` }) : null;
      const section = element("section", { className: "zone" }, title, element("ul", { className: "cards" }, ...cards), rest);
      section.style.flexGrow = String(Math.min(4, zone.cards.length));
      return section;
    });
    return element("div", { className: "zones" }, ...shown);
  }

  rest(pair) {
    const group = (title, count, note, pictures, says) => {
      if (!count) return null;
      const heading = element("h2", { textContent: `${title}: ${count.toLocaleString("en")}` });
      heading.append(element("span", { className: "caption quiet" }, " ", cut(note)));
      return element("section", {}, heading, this.tinies(pictures, says));
    };
    return element(
      "div",
      { className: "two" },
      group("Already decided", pair.decided_count, pair.decided_note, pair.decided, "Decided"),
      group("The other way round", pair.reverse_count, pair.reverse_note, pair.reverse, "The other way round"),
    );
  }

  crops(pair) {
    const group = (role, side, note, crops) => {
      if (!crops.length) return null;
      const heading = element("h2", { className: role }, "What speaks for ", cut(side.name), element("span", { className: "caption quiet", textContent: ` ${note}` }));
      const items = crops.map((crop) => {
        const link = element("a", { className: `crop is-${role}`, href: address("review", this.listed({ path: crop.path })) }, createCrop(this.audit, crop));
        link.setAttribute("aria-label", `${note}, speaks for ${side.name}`);
        return element("li", {}, link);
      });
      return element("section", {}, heading, element("ul", { className: "crops" }, ...items));
    };
    return element(
      "div",
      { className: "two" },
      group("other", pair.other, "strongest blue part of each undecided", pair.blue),
      group("given", pair.given, "strongest red part", pair.red),
    );
  }

  buttons(pair) {
    const { undecided, step, finished } = pair;
    const key = (letter) => element("kbd", { textContent: letter });
    const button = (onclick, ...children) => element("button", { type: "button", onclick }, ...children);
    const one = undecided === 1 ? "Review it" : `Review the ${undecided.toLocaleString("en")} one by one`;
    const review = undecided ? button(() => this.leave("review", this.listed({ decided: "no" })), one, key("Enter")) : null;
    const relabel = step && !this.data.readOnly ? button(() => this.together.ask("accept", { above: pair.above }), step.relabel) : null;
    const bulkFirst = Boolean(relabel && step.supported);
    review?.classList.toggle("primary", !bulkFirst);
    relabel?.classList.toggle("primary", bulkFirst);
    const grid = button(() => this.leave("grid", this.listed()), "Open in Grid", key("G"));
    const note = element("span", { className: "caption quiet note", textContent: pair.finished_note });
    const mark = undecided && !this.data.readOnly ? button(() => this.finish(!finished), finished ? "Not finished after all" : "Mark as finished anyway") : null;
    mark?.classList.add("plain");
    fill(this.acts, review, relabel, grid, element("span", { className: "space" }), note, mark);
    this.bar.hidden = false;
  }

  async finish(on) {
    const { reviewer } = this.data;
    const said = { audit: this.audit, given: this.given, suggested: this.suggested, reviewer, on };
    if (await this.together.answer(post("finished", said))) await this.refresh();
  }

  async reviewThese(paths) {
    const answer = await this.together.answer(post("map/select", { audit: this.audit, paths }));
    if (answer) this.leave("review", { audit: this.named, selection: answer.selection });
  }

  leave(page, query) {
    this.keep();
    go(page, query);
  }

  keep() {
    keepPlace("pair", this.root, "");
  }

  key(event) {
    const busy = this.root.querySelector("dialog[open]") || typing() || event.repeat || event.defaultPrevented || !this.pair;
    if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const onControl = event.composedPath()[0]?.closest?.("button, a, select, input");
    if (event.key.toLowerCase() === "z") this.together.undo();
    else if (event.key.toLowerCase() === "g") this.leave("grid", this.listed());
    else if (event.key === "Enter" && !onControl && this.pair.undecided) this.leave("review", this.listed({ decided: "no" }));
    else return;
    event.preventDefault();
  }

  say(sentence, undoable = false) {
    this.heard.textContent = sentence;
    const undo = element("button", { type: "button", className: "small" }, "Undo", element("kbd", { textContent: "Z" }));
    undo.onclick = () => this.together.undo();
    fill(this.told, sentence, undoable ? undo : null);
  }
}
