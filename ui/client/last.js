// The last decisions: a line that says what the last one was, and small pictures of those before it. They are kept for
// this tab, so that a reload shows them again; what is true stands in the log.

import { element, fill } from "./dom.js";
import { recall, remember } from "./kept.js";
import { cut } from "./names.js";

const SHOWN = 9;
const KEPT = 200; // known to undo without asking the server whose decision was the last
const LONGEST = 16; // letters of a name, of which two stand in the line
const MARKS = { relabel: "A", keep: "K", unsure: "U", remove: "X" };

/** What was said of a picture: [[text, role], …]. */
export function words({ decision, name, given }) {
  if (decision === "relabel") return [[name, "other"], [" ← ", ""], [given, "given"]];
  const said = { keep: "label is right", unsure: "unsure", remove: "removed", undo: "taken back" };
  return [[given, "given"], [`: ${said[decision]}`, ""]];
}

export class Last {
  /**
   * @param {Element} slot
   * @param {object} options
   * @param {string} options.audit
   * @param {(path: string, hash: string) => string} options.picture address of a small one
   * @param {(path: string) => void} options.open
   * @param {() => string} options.key what is printed for undo, "" for none
   */
  constructor(slot, { audit, picture, open, key, undo }) {
    Object.assign(this, { slot, picture, open, key, undo });
    this.place = `gradattn/last/${audit}`;
    this.said = read(this.place);
    this.draw();
  }

  /** The newest that still stands; null for none that is known here. */
  get newest() {
    return this.said.entries[0] ?? null;
  }

  add(entry) {
    this.said.entries = [entry, ...this.said.entries.filter((each) => each.path !== entry.path)];
    this.said.before += Math.max(0, this.said.entries.length - KEPT);
    this.said.entries.length = Math.min(KEPT, this.said.entries.length);
    this.keep();
  }

  /** It was taken back. */
  remove(path) {
    this.said.entries = this.said.entries.filter((each) => each.path !== path);
    this.keep();
  }

  keep() {
    remember("sessionStorage", this.place, this.said);
    this.draw();
  }

  draw() {
    const [newest, ...others] = this.said.entries.slice(0, SHOWN);
    if (!newest) {
      fill(this.slot);
      return;
    }
    const key = this.key();
    const line = element("div", { className: "last-words" },
      element("strong", {}, ...words(newest).map(([text, role]) => (role ? cut(text, role, LONGEST) : text))),
      element("button", { className: "bare last-undo", type: "button", onclick: this.undo },
        ...(key ? [element("kbd", { textContent: key }), " "] : []), "takes it back"));
    const strip = element("ul", { className: "last-strip" }, ...others.map((entry) => element("li", {}, this.small(entry))));
    const earlier = this.said.before + Math.max(0, this.said.entries.length - SHOWN);
    const before = earlier ? element("span", { className: "quiet caption", textContent: `${earlier} before` }) : null;
    fill(this.slot, element("div", { className: "last" }, this.small(newest), line, strip, before));
  }

  small(entry) {
    const mark = MARKS[entry.decision];
    const text = words(entry).map(([part]) => part).join("");
    return element("button", { className: "bare last-small", type: "button", title: text, onclick: () => this.open(entry.path), "aria-label": `Open: ${text}` },
      element("img", { src: this.picture(entry.path, entry.content_hash), alt: "" }),
      element("span", { className: `last-mark mark-${mark}`, textContent: mark, "aria-hidden": "true" }));
  }
}

function read(place) {
  const found = recall("sessionStorage", place);
  return Array.isArray(found?.entries) ? { entries: found.entries, before: Number(found.before) || 0 } : { entries: [], before: 0 };
}
