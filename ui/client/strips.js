// Small pictures to compare the suspect with: typical ones of either class, and those most like it.

import { element, fill } from "./dom.js";
import { cut, rich } from "./names.js";

const MOST = 5; // in a row
const LONGEST = 15; // letters of a name on a picture

/** @typedef {{path: string, content_hash: string, name: string, role: string, suspect: boolean, state: string, missing: boolean}} Small */

/**
 * @param {{picture: (kind: string, small: Small) => string, fill: (image: HTMLImageElement, address: string,
 *   came: () => void) => void, open: (small: Small, title: Node[]) => void, more: () => void}} handlers
 * @returns {{element: HTMLElement, show: (suspect: object) => void,
 *   select: (path: string|null) => void, printed: (flicker: string) => void}}
 */
export function createStrips(handlers) {
  const root = element("div", { className: "strips" });
  let flicker = "";
  let hint = null;
  const word = () => fill(hint, "click: large", ...(flicker ? [" · hold ", element("kbd", { textContent: flicker }), ": flicker with the suspect"] : []));
  const show = (suspect) => {
    // A new one, as all of the strips are: nothing that stays has moved.
    hint = element("span", { className: "hint" });
    word();
    const typical = suspect.typical.map((strip, at) => {
      const title = ["Typical ", cut(strip.name)];
      return strip.pictures.length ? section("typical", title, strip.note, strip.pictures, at === 0 ? [hint] : [], handlers) : null;
    });
    const { similar } = suspect;
    const more = similar?.more
      ? element("button", { className: "bare more", type: "button", onclick: handlers.more, textContent: `${similar.more} more ›` })
      : null;
    const alike = similar?.pictures.length
      ? section("similar", ["Most similar"], similar.note, similar.pictures, more ? [more] : [], handlers)
      : null;
    fill(root, ...typical, alike);
  };
  /** Which one is large in the stage now, by its path; null for none. */
  const select = (path) => {
    for (const button of root.querySelectorAll(".thumb[data-path]")) {
      if (button.dataset.path === path) button.setAttribute("aria-pressed", "true");
      else button.removeAttribute("aria-pressed");
    }
  };
  /** The key that flickers, as it is printed; "" where it is switched off. */
  const printed = (key) => {
    if (key === flicker) return;
    flicker = key;
    if (hint) word();
  };
  return { element: root, show, select, printed };
}

function section(kind, title, note, pictures, right, handlers) {
  const noted = Array.isArray(note) ? rich(note) : [note];
  const head = element("div", { className: "strip-head" }, element("h3", {}, ...title), element("span", { className: "note", title: Array.isArray(note) ? null : note }, ...noted), ...right);
  const list = element("ul", {}, ...pictures.slice(0, MOST).map((small) => element("li", {}, one(small, kind, title, handlers))));
  return element("section", { className: `strip ${kind}` }, head, list);
}

/** A small picture that opens large; with an amber band and its present state where it is a suspect itself. */
function one(small, kind, title, handlers) {
  const image = element("img", { alt: "", decoding: "async", draggable: false });
  const band = small.suspect ? element("span", { className: "band", textContent: small.state || "suspect", title: small.state || null }) : null;
  const name = kind === "similar" ? cut(small.name, "label", LONGEST) : null;
  const called = kind === "similar" ? `Similar picture, filed as ${small.name}` : `Typical ${small.name}`;
  const button = element(
    "button",
    {
      className: `bare thumb${small.suspect ? " suspect" : ""}`,
      type: "button",
      "aria-label": [called, small.suspect ? small.state || "suspect" : ""].filter(Boolean).join(", "),
    },
    image,
    band,
    name,
  );
  handlers.fill(image, handlers.picture("small", small), () => button.classList.add("here"));
  const heading = kind === "similar" ? ["Filed as ", cut(small.name)] : title.map((part) => (part.cloneNode ? part.cloneNode(true) : part));
  button.onclick = () => handlers.open(small, heading);
  button.dataset.path = small.path;
  return button;
}
