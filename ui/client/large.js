// A picture as large as the window allows, beside the small one that the pointer or the focus is on.

import { picture } from "./api.js";
import { element } from "./dom.js";
import { cut } from "./names.js";

const REST = 450; // milliseconds that a pointer rests before its picture is shown large
const EDGE = 12;

/** @returns {{soon: Function, show: Function, hide: Function}} what a board calls; nothing in it takes the pointer */
export function createLarge(root, audit) {
  const image = element("img", { alt: "" });
  const words = element("span", { className: "caption" });
  const sheet = element("div", { className: "large", popover: "manual" }, image, words);
  sheet.setAttribute("aria-hidden", "true");
  root.append(sheet);
  let timer = 0;
  let shown = null;

  function show(card, near) {
    clearTimeout(timer);
    if (!near.isConnected) return;
    shown = card;
    image.src = picture("large", audit, card.path, card.content_hash);
    const lines = [cut(card.first?.name ?? card.name ?? "")];
    if (card.second) lines.push(` ${card.first.text} · `, cut(card.second.name), ` ${card.second.text}`);
    words.replaceChildren(...lines);
    sheet.showPopover();
    place(near.getBoundingClientRect(), card);
  }

  /** At the side with more room, inside the window. */
  function place(near, card) {
    const atRight = innerWidth - near.right >= near.left;
    const room = (atRight ? innerWidth - near.right : near.left) - 2 * EDGE;
    const [width, height] = [card.width || 800, card.height || 800];
    const most = Math.min(room, 800);
    const scale = Math.min(most / width, (innerHeight - 2 * EDGE - 34) / height, Math.max(1, 320 / Math.max(width, height)));
    const size = [Math.max(120, width * scale), height * scale];
    image.style.width = `${size[0]}px`;
    image.style.height = `${size[1]}px`;
    sheet.style.left = `${atRight ? near.right + EDGE : Math.max(EDGE, near.left - EDGE - size[0])}px`;
    const top = near.top + near.height / 2 - size[1] / 2;
    sheet.style.top = `${Math.max(EDGE, Math.min(innerHeight - size[1] - 34 - EDGE, top))}px`;
  }

  function hide() {
    clearTimeout(timer);
    if (shown === null) return;
    shown = null;
    sheet.hidePopover();
    image.removeAttribute("src");
  }

  function soon(card, near) {
    if (card === shown) return;
    hide();
    timer = setTimeout(() => show(card, near), REST);
  }

  return { soon, show, hide };
}
