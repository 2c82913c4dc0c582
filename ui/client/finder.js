// "Similar pictures of …": a picture found by a part of its path.

import { element, fill } from "./dom.js";
import { beside, cut } from "./names.js";

const PAUSE = 200; // milliseconds after the last letter

/** @param {{find: (text: string) => Promise<object[]>, choose: (path: string) => void}} does */
export function createFinder({ find, choose }) {
  const field = element("input", { type: "search", placeholder: "Similar pictures of…", maxLength: 500, autocomplete: "off" });
  const list = element("ul", { className: "found", id: "found", hidden: true });
  const root = element("span", { className: "finder" }, field, list);
  const attributes = { role: "combobox", "aria-label": "Similar pictures of: part of a file name", "aria-expanded": "false",
    "aria-controls": "found", "aria-autocomplete": "list" };
  for (const [key, value] of Object.entries(attributes)) field.setAttribute(key, value);
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Pictures");
  let cards = [];
  let at = -1;
  let timer = 0;

  function open(shown) {
    list.hidden = !shown;
    field.setAttribute("aria-expanded", String(shown));
    if (!shown) field.removeAttribute("aria-activedescendant");
  }

  function rove(to) {
    at = Math.max(-1, Math.min(cards.length - 1, to));
    [...list.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === at)));
    if (at >= 0) {
      field.setAttribute("aria-activedescendant", `found-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  function take(number) {
    open(false);
    field.value = "";
    field.blur();
    choose(cards[number].path);
  }

  async function look() {
    const text = field.value;
    if (!text.trim()) return open(false);
    const found = await find(text).catch(() => []);
    if (text !== field.value) return;
    cards = found;
    beside(cards.map(({ given }) => given.name));
    fill(list, ...cards.map((card, number) => {
      const item = element("li", { id: `found-${number}`, onpointerdown: (event) => {
        event.preventDefault();
        take(number);
      } }, element("bdi", { dir: "auto", textContent: card.path, title: card.path }),
      element("span", { className: "caption quiet" }, "filed as ", cut(card.given.name)));
      item.setAttribute("role", "option");
      return item;
    }));
    if (!cards.length) {
      const none = element("li", { className: "quiet", textContent: "No picture has this in its name." });
      none.setAttribute("role", "option");
      none.setAttribute("aria-disabled", "true");
      list.append(none);
    }
    open(true);
    rove(0);
  }

  field.oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  };
  field.onblur = () => open(false);
  field.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) rove(at + step);
    else if (event.key === "Enter" && !list.hidden && at >= 0) take(at);
    else if (event.key === "Escape") field.blur();
    else if (event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
  };
  return { root };
}
