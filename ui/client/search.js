// Another class: a search over all classes that keeps the given label in sight, tells classes of one name apart, and
// stores nothing that was not shown and chosen. Enter alone takes only the one class that is called exactly that.

import { element, fill } from "./dom.js";
import { named } from "./names.js";

const LONGEST = 50;

/** @typedef {{label: string, name: string, group: string}} Class */

/** What is compared: case, accents and signs between words do not count. */
export function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[_\-\s]+/gu, " ").trim();
}

/**
 * The classes that a text may mean, the likeliest meant first: called so, beginning so, with a word that begins so,
 * and all others that have it somewhere.
 * @param {Class[]} classes
 * @returns {{found: Class[], exact: Class[]}} `exact`: those called exactly that, by name or by label
 */
export function matches(classes, text) {
  const asked = folded(text);
  if (!asked) return { found: classes, exact: [] };
  const ranks = [[], [], [], []];
  for (const each of classes) {
    const names = [folded(each.name), folded(each.label)];
    if (names.includes(asked)) ranks[0].push(each);
    else if (names.some((name) => name.startsWith(asked))) ranks[1].push(each);
    else if (names.some((name) => name.includes(` ${asked}`))) ranks[2].push(each);
    else if (names.some((name) => name.includes(asked)) || folded(each.group ?? "").includes(asked)) ranks[3].push(each);
  }
  return { found: ranks.flat(), exact: ranks[0] };
}

/**
 * Open the search.
 * @param {import("./dialogs.js").Dialogs} dialogs
 * @param {object} options
 * @param {Promise<Class[]>} options.classes
 * @param {{label: string, name: string}} options.given
 * @param {string} options.removeKey printed beside "None of this dataset's classes"
 * @returns {Promise<Class|"none"|null>} what was chosen; "none": none of the classes
 */
export function search(dialogs, { classes, given, removeKey }) {
  return new Promise((resolve) => new Search(dialogs, classes, given, removeKey, resolve));
}

class Search {
  constructor(dialogs, classes, given, removeKey, resolve) {
    Object.assign(this, { classes: null, given, removeKey });
    this.chosen = null;
    this.active = -1;
    this.field = element("input", {
      type: "text", role: "combobox", autocomplete: "off", spellcheck: false, dir: "auto", placeholder: "Name of the class",
      "aria-expanded": "true", "aria-controls": "classes", "aria-autocomplete": "list", "aria-label": "Another class", autofocus: true,
    });
    this.list = element("ul", { role: "listbox", id: "classes", className: "search-list", "aria-label": "Classes" });
    this.hint = element("p", { className: "quiet caption", role: "status" });
    const label = element("p", { className: "caption quiet" }, "Given label: ", named(given.name, "given", given.name));
    this.field.oninput = () => this.look();
    this.field.onkeydown = (event) => this.key(event);
    classes.then((found) => {
      this.classes = found;
      this.look();
    });
    this.look();
    this.dialog = dialogs.show("Another class", [this.field, label, this.list, this.hint], {
      kind: "search", closed: () => resolve(this.chosen),
    });
  }

  look() {
    const { found, exact } = matches(this.classes ?? [], this.field.value);
    const cut = found.slice(0, LONGEST);
    this.exact = exact;
    this.options = [...cut, "none"];
    const names = new Map();
    for (const each of found) names.set(each.name, (names.get(each.name) ?? 0) + 1);
    fill(this.list, ...this.options.map((each, index) => this.option(each, index, names)));
    this.left = found.length - cut.length;
    // Only what is meant beyond doubt is ready for Enter.
    this.move(exact.length === 1 ? 0 : -1);
  }

  option(each, index, names) {
    const option = element("li", { role: "option", id: `class-${index}`, "aria-selected": "false", onclick: () => this.take(index) });
    if (each === "none") {
      option.append("None of this dataset’s classes…", ...(this.removeKey ? [element("kbd", { textContent: this.removeKey })] : []));
      return option;
    }
    option.append(element("strong", {}, named(each.name)));
    // Classes of one name are told apart by their group, else by what the dataset calls them.
    const about = names.get(each.name) > 1 ? [each.group || each.label] : each.group ? [each.group] : [];
    if (each.label === this.given.label) about.push("given label: it is right");
    if (about.length) option.append(element("span", { className: "quiet" }, named(about.join(" · "))));
    return option;
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const by = event.key === "ArrowDown" ? 1 : -1;
      this.move(this.active < 0 && by < 0 ? this.options.length - 1 : (this.active + by + this.options.length) % this.options.length);
    } else if (event.key === "Enter") {
      if (event.repeat) return;
      if (this.active >= 0) this.take(this.active);
      else this.say(true);
    } else return;
    event.preventDefault();
  }

  move(to) {
    this.active = to;
    [...this.list.children].forEach((option, index) => option.setAttribute("aria-selected", String(index === to)));
    this.field.setAttribute("aria-activedescendant", to < 0 ? "" : `class-${to}`);
    this.list.children[to]?.scrollIntoView({ block: "nearest" });
    this.say(false);
  }

  say(pressed) {
    const text = this.field.value.trim();
    const chosen = this.active >= 0 ? this.options[this.active] : null;
    if (!this.classes) this.hint.textContent = "The classes are on their way.";
    else if (chosen) this.hint.textContent = `Enter: ${chosen === "none" ? "remove the picture" : chosen.label === this.given.label ? "the label is right" : `file it as ${chosen.name}`}.`;
    else if (this.exact.length > 1) this.hint.textContent = `${this.exact.length} classes are called “${text}”: choose one with ↓, then Enter. Enter alone does not store.`;
    else if (this.options.length === 1) this.hint.textContent = this.classes.length ? "No class is called that." : "The classes have not come: no connection.";
    else if (text) this.hint.textContent = `No class is called exactly that: choose one with ↓, then Enter.${pressed ? " Nothing was stored." : ""}`;
    else this.hint.textContent = this.left > 0 ? `And ${this.left} more.` : "";
  }

  take(index) {
    this.chosen = this.options[index];
    this.dialog.end();
  }
}
