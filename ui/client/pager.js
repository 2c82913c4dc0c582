// Which stretch of a list is shown, every page within reach; and how large its pictures are.

import { element } from "./dom.js";
import { recall, remember } from "./kept.js";

const SIZES = [24, 48, 96, 192];
const NEAR = 2; // pages at each side of the one that is shown
const WIDTHS = { least: 96, most: 480, usual: 208 };
const KEPT = "gradattn size of small pictures";

/** `1–48 of 1,204`. */
export function placeOf(page, size, total) {
  const first = (page - 1) * size + 1;
  return `${first.toLocaleString("en")}–${Math.min(total, page * size).toLocaleString("en")} of ${total.toLocaleString("en")}`;
}

/** @param {(change: {page?: string, size?: string}) => void} go */
export function createPager(go) {
  const pages = element("div", { className: "pages" });
  const sizes = element("select", {}, ...SIZES.map((size) => element("option", { value: size, textContent: `${size} a page` })));
  sizes.setAttribute("aria-label", "Pictures on a page");
  sizes.onchange = () => go({ size: sizes.value });
  const root = element("nav", { className: "pager" }, pages, sizes);
  root.setAttribute("aria-label", "Pages");

  function show({ page, size, total }) {
    const last = Math.max(1, Math.ceil(total / size));
    const to = (number, text = number.toLocaleString("en"), says = `Page ${number}`) => {
      const button = element("button", { type: "button", className: "small", textContent: text });
      button.setAttribute("aria-label", says);
      if (number === page && text !== "‹" && text !== "›") button.setAttribute("aria-current", "page");
      button.disabled = number < 1 || number > last;
      button.onclick = () => go({ page: String(number) });
      return button;
    };
    const numbers = [...Array(last).keys()].map((at) => at + 1).filter(
      (number) => number === 1 || number === last || Math.abs(number - page) <= NEAR,
    );
    const shown = numbers.flatMap((number, at) => {
      const gap = at && number - numbers[at - 1] > 1 ? [jump(last)] : [];
      return [...gap, to(number)];
    });
    pages.replaceChildren(to(page - 1, "‹", "Page before"), ...shown, to(page + 1, "›", "Next page"));
    sizes.value = String(size);
    root.hidden = total <= SIZES[0];
  }

  /** Any page by its number. */
  function jump(last) {
    const field = element("input", { type: "number", min: 1, max: last, placeholder: "…", className: "jump" });
    field.setAttribute("aria-label", `Page, 1 to ${last}`);
    field.onchange = () => {
      const number = Math.round(Number(field.value));
      if (number >= 1 && number <= last) go({ page: String(number) });
    };
    return field;
  }

  return { root, show };
}

/** A slider for the least width of a card, which this browser remembers. @param {(pixels: number) => void} changed */
export function createSize(changed) {
  const slider = element("input", { type: "range", min: WIDTHS.least, max: WIDTHS.most, step: 8 });
  slider.setAttribute("aria-label", "Size of the pictures");
  const said = element("output", { className: "caption quiet" });
  const show = () => {
    said.textContent = `${slider.value} px`;
    slider.setAttribute("aria-valuetext", `${slider.value} pixels`);
    changed(Number(slider.value));
  };
  slider.value = String(Number(recall("localStorage", KEPT)) || WIDTHS.usual);
  slider.oninput = () => {
    show();
    remember("localStorage", KEPT, Number(slider.value));
  };
  show();
  return element("label", { className: "size" }, slider, said);
}
