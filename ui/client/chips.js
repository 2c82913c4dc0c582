// What a list shows, as chips: the queue, its order, each filter in force, and more filters. Built on plain parameters,
// `{name: text}` as in the address, for Review and for Grid; it holds no state but which popover is open.

import { FILTERS } from "./address.js";
import { element, fill } from "./dom.js";
import { beside, cut } from "./names.js";

/**
 * @typedef {object} Choices what ui/review/choices.py offers
 * @property {[string, string][]} lists key and name
 * @property {[string, string][]} orders
 * @property {[string, string][]} kinds
 * @property {[string, string][]} decided
 * @property {string[]} reviewers
 * @property {boolean} foreign whether something is suggested to be of none of the classes
 */

const WORDS = {
  given: "filed as", suggested: "looks like", kind: "", decided: "", by: "decided by", contains: "path has", tag: "tag",
};
const BLIND = ["spot check", "until", "second look"];

export class Chips {
  /**
   * @param {Element} slot
   * @param {object} options
   * @param {Choices} options.choices
   * @param {"review"|"grid"} options.page
   * @param {(params: Object<string, string>) => void} options.onChange
   * @param {(path: string, params?: object) => Promise<object>} options.get asks the server for classes, tags, views
   * @param {(path: string, body: object) => Promise<object>} options.post
   * @param {() => void} [options.left] the focus goes back to the picture
   */
  constructor(slot, options) {
    Object.assign(this, options, { slot, asked: null, names: new Map() });
  }

  get open() {
    return Boolean(this.slot.querySelector(":popover-open"));
  }

  /** @param {Object<string, string>} params */
  show(params) {
    this.params = params;
    const chips = this.page === "review" ? [this.queue()] : [];
    const blind = BLIND.includes(params.list);
    if (!blind) {
      // Where there is no room for all, those in force are scrolled to; how many there are, and the way to more, is always there.
      const inForce = this.inForce();
      const count = inForce.length > 1 ? ` (${inForce.length})` : "";
      chips.push(this.order(), this.menu(`+ Filter${count}`, () => this.filters(inForce.length > 1)), ...inForce);
    }
    fill(this.slot, element("div", { className: "chips", role: "group", "aria-label": "List" }, ...chips));
    if (!this.names.size && [params.given, params.suggested].some((label) => label && !this.called(label))) this.name();
  }

  /** The classes' names for people, once they are here. */
  async name() {
    const { length } = await this.ask("classes");
    if (length && !this.open) this.show(this.params);
  }

  change(changes) {
    const next = { ...this.params, ...changes };
    delete next.path;
    for (const name of Object.keys(next)) if (next[name] === "" || next[name] == null) delete next[name];
    this.onChange(next);
  }

  queue() {
    const { list = "", left = "1", part } = this.params;
    const names = new Map(this.choices.lists);
    const shown = list === "until" ? `until at most ${left}% is left` : (names.get(list) ?? names.get("")).toLowerCase();
    // What is drawn at random is drawn for all; it cannot be shared out.
    const shared = !["spot check", "until"].includes(list);
    return this.menu(`Queue: ${shown}${part && shared ? `, part ${part.replace("/", " of ")}` : ""}`, () => [
      this.radios("queue", this.choices.lists, list, (key) => this.change({ list: key, ...(key && this.unfiltered()) })),
      // Whoever says how much may be left wants the review that ends there.
      this.field("Left wrong at most, %", "left", { type: "number", min: 0.1, max: 50, step: 0.1, value: left }, { list: "until" }),
      ...(shared ? this.shares() : []),
    ]);
  }

  /** Sharing a list out among people. */
  shares() {
    const [k = "", n = ""] = (this.params.part ?? "").split("/");
    const share = (which) => element("input", { type: "number", min: 1, max: 99, value: which === "k" ? k : n, "aria-label": which === "k" ? "Part" : "of how many parts", className: "number" });
    const [first, second] = [share("k"), share("n")];
    const told = () => {
      const whole = Number(first.value) >= 1 && Number(first.value) <= Number(second.value);
      if (whole || (!first.value && !second.value)) this.change({ part: whole ? `${first.value}/${second.value}` : "" });
    };
    first.onchange = second.onchange = told;
    return [
      element("label", { className: "row" }, "Part", first, "of", second),
      this.field("Shared by all parts, %", "overlap", { type: "number", min: 0, max: 100, step: 1, value: this.params.overlap ?? "" }),
      ...(this.params.list ? [] : [this.box("Only what nobody has decided", "nobody")]),
    ];
  }

  order() {
    const { order = this.choices.orders[0][0] } = this.params;
    const name = new Map(this.choices.orders).get(order) ?? order;
    return this.menu(name, () => [this.radios("order", this.choices.orders, order, (key) => this.change({ order: key }))]);
  }

  /** A chip for each filter in force; its cross takes it away. */
  inForce() {
    const { params } = this;
    const chips = [];
    for (const [name, words] of Object.entries(WORDS)) {
      if (!params[name]) continue;
      chips.push(this.inForceChip(words, this.named(name, params[name]), { [name]: "" }));
    }
    if (params.least || params.most) {
      const range = `${params.least ?? "0"} to ${params.most ?? "1"}`;
      chips.push(this.inForceChip("suspicion", range, { least: "", most: "" }));
    }
    if (params.selection) chips.push(this.inForceChip("", "selected on the map", { selection: "" }));
    if (this.page === "grid" && params.part) chips.push(this.inForceChip("part", params.part.replace("/", " of "), { part: "" }));
    if (params.nobody) chips.push(this.inForceChip("", "only what nobody has decided", { nobody: "" }));
    return chips;
  }

  inForceChip(words, value, without) {
    const text = `${words} ${value}`.trim();
    return element("button", { type: "button", className: "chip on", "aria-label": `Clear filter: ${text}`, onclick: () => this.change(without) },
      ...(words ? [`${words} `] : []), cut(value), element("span", { textContent: "✕", "aria-hidden": "true" }));
  }

  named(name, value) {
    if (name === "kind" || name === "decided") return new Map(this.choices[name === "kind" ? "kinds" : "decided"]).get(value) ?? value;
    if (name === "suggested" && value === "none") return "none of the classes";
    return this.called(value) ?? value;
  }

  called(label) {
    return label === "none" ? label : (this.names.get(label) ?? this.choices.names?.[label]);
  }

  /** @param {boolean} several of them are in force */
  filters(several) {
    const { choices } = this;
    const clear = () => this.change(Object.fromEntries(FILTERS.map((name) => [name, ""])));
    const body = element("div", { className: "filters" });
    const fields = () => [...body.querySelectorAll("input, select")];
    const draw = (classes, tags, views) => {
      // Who has begun with a field goes on in it.
      const at = fields().indexOf(body.getRootNode().activeElement);
      const typed = fields()[at]?.value;
      const labels = classes.map(({ label, name, group }) => [label, group ? `${name} (${group})` : name]);
      const none = choices.foreign ? [["none", "None of the classes"]] : [];
      fill(body,
        this.select("Filed as", "given", labels), this.select("Looks like", "suggested", [...labels, ...none]),
        this.select("Kind of doubt", "kind", choices.kinds), this.select("Decided", "decided", choices.decided, "Undecided"),
        this.select("Decided by", "by", choices.reviewers.map((each) => [each, each])),
        element("div", { className: "row" },
          this.field("Suspicion from", "least", { type: "number", min: 0, max: 1, step: 0.001, value: this.params.least ?? "" }),
          this.field("to", "most", { type: "number", min: 0, max: 1, step: 0.001, value: this.params.most ?? "" })),
        this.field("Path contains", "contains", { type: "text", maxLength: 500, value: this.params.contains ?? "", dir: "auto" }),
        this.select("Tag", "tag", tags.map(({ tag, count }) => [tag, `${tag} (${count})`])),
        ...(this.page === "grid" ? this.shares() : []),
        several ? element("button", { type: "button", className: "small", textContent: "Clear all filters", onclick: clear }) : null,
        this.views(views));
      const again = fields()[at];
      if (again?.localName === "input") again.value = typed;
      again?.focus();
    };
    draw([], [], []);
    Promise.all(["classes", "tags", "views"].map((what) => this.ask(what))).then((answers) => draw(...answers));
    return [body];
  }

  /** An answer of the server, nothing where it does not come; classes stay as they are, tags and views do not. */
  async ask(what) {
    const audit = this.params.audit ?? this.audit;
    const answer = (what === "classes" && this.asked) || this.get(what, { audit }).catch(() => []);
    if (what !== "classes") return answer;
    this.asked = answer;
    const classes = await answer;
    if (!classes.length) this.asked = null;
    this.names = new Map(classes.map(({ label, name }) => [label, name]));
    beside([...this.names.values()]);
    return classes;
  }

  /** Lists that are kept under a name, for everybody. */
  views(all) {
    const here = all.filter(({ page }) => page === this.page);
    const hint = element("p", { className: "caption quiet", role: "status" });
    const change = async (name, body) => {
      try {
        await this.post("views", { audit: this.params.audit ?? this.audit, name, page: this.page, ...body });
        this.shut();
      } catch (error) {
        hint.textContent = `Nothing was stored: ${error.message}`;
      }
    };
    const kept = ({ name, query }) => {
      const open = element("button", { type: "button", className: "small", onclick: () => this.onChange({ ...query }) }, cut(name));
      const gone = element("button", { type: "button", className: "small", textContent: "✕", "aria-label": `Delete the view ${name}` });
      gone.onclick = () => {
        if (gone.textContent !== "✕") return change(name, { remove: true });
        gone.textContent = "Delete for everybody?";
      };
      return element("span", {}, open, gone);
    };
    const field = element("input", { type: "text", maxLength: 100, placeholder: "Save this view as…", "aria-label": "Name of this view", dir: "auto" });
    const form = element("form", { className: "row" }, field, element("button", { type: "submit", className: "small", textContent: "Save" }));
    let asked = "";
    form.onsubmit = (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) return;
      if (here.some((view) => view.name === name) && asked !== name) {
        asked = name;
        hint.textContent = "There is a view of this name. Save once more to replace it.";
        return;
      }
      const { path, ...query } = this.params;
      change(name, { query });
    };
    return element("div", { className: "views" }, element("span", { className: "caption quiet", textContent: "Saved views" }),
      ...(here.length ? [element("div", { className: "row" }, ...here.map(kept))] : []), form, hint);
  }

  unfiltered() {
    return Object.fromEntries(Object.keys(this.params).filter((name) => !["audit", "left"].includes(name)).map((name) => [name, ""]));
  }

  menu(words, content) {
    const popover = element("div", { className: "popover", popover: "auto", "data-keep": "" });
    const chip = element("button", { type: "button", className: "chip", "aria-haspopup": "true", "aria-expanded": "false" }, words, " ▾");
    // The browser's own way to open it, so that a click on the chip also shuts it.
    chip.popoverTargetElement = popover;
    // Filled before it is there: whoever is quick never types into what was there the last time.
    popover.onbeforetoggle = ({ newState }) => {
      chip.setAttribute("aria-expanded", String(newState === "open"));
      if (newState !== "open") return;
      fill(popover, ...content());
      popover.querySelector("input:checked, select, input")?.setAttribute("autofocus", "");
    };
    popover.ontoggle = ({ newState }) => {
      if (newState === "open") {
        const box = chip.getBoundingClientRect();
        const [above, below] = [box.top - 12, innerHeight - box.bottom - 12];
        const up = popover.scrollHeight > below && above > below;
        popover.style.top = up ? "auto" : `${box.bottom + 4}px`;
        popover.style.bottom = up ? `${innerHeight - box.top + 4}px` : "auto";
        popover.style.maxHeight = `${Math.max(up ? above : below, 120)}px`;
        popover.style.left = `${Math.max(8, Math.min(box.left, innerWidth - popover.offsetWidth - 8))}px`;
      } else if (popover.isConnected && popover.contains(popover.getRootNode().activeElement)) this.left?.();
    };
    popover.onkeydown = (event) => {
      // A form and a button have uses of their own for Enter.
      if (event.key !== "Escape" && (event.key !== "Enter" || event.target.closest("form, button"))) return;
      // It ends this menu and nothing behind it.
      event.stopPropagation();
      // What was typed counts; then the picture has the focus again.
      event.target.blur?.();
      popover.hidePopover();
      this.left?.();
    };
    return element("span", {}, chip, popover);
  }

  shut() {
    for (const popover of this.slot.querySelectorAll(":popover-open")) popover.hidePopover();
    this.left?.();
  }

  radios(group, options, chosen, choose) {
    return element("div", { role: "radiogroup", className: "radios" }, ...options.map(([key, name]) => {
      const radio = element("input", { type: "radio", name: group, checked: key === chosen });
      radio.onclick = () => {
        this.shut();
        choose(key);
      };
      return element("label", {}, radio, name);
    }));
  }

  box(words, name) {
    const box = element("input", { type: "checkbox", checked: Boolean(this.params[name]) });
    box.onchange = () => this.change({ [name]: box.checked ? "1" : "" });
    return element("label", { className: "row" }, box, words);
  }

  field(words, name, properties, beside = {}) {
    const field = element("input", properties);
    field.onchange = () => {
      if (field.checkValidity()) this.change({ ...(beside.list && this.unfiltered()), ...beside, [name]: field.value.trim() });
    };
    return element("label", { className: "field" }, words, field);
  }

  select(words, name, options, none = "Any") {
    const select = element("select", {}, element("option", { value: "", textContent: none }),
      ...options.filter(([key]) => key !== "").map(([key, text]) => element("option", { value: key, textContent: text })));
    const value = this.params[name] ?? "";
    if (value && !options.some(([key]) => key === value)) select.append(element("option", { value, textContent: value }));
    select.value = value;
    select.onchange = () => this.change({ [name]: select.value });
    return element("label", { className: "field" }, words, select);
  }
}
