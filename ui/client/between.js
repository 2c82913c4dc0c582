// What lies between two classes: each undecided picture on the line from one to the other, and a part cut out of one.

import { picture } from "./api.js";
import { element } from "./dom.js";
import { cut } from "./names.js";

/**
 * The line, for the eye alone: what it says stands in the headings of the zones below it too.
 * @param {{dots: {at: number, zone: string}[], gap: string, undecided: number, given: object, other: object}} pair
 *   `at` runs from 0, the given class, to 1, the other one
 */
export function createLine(pair) {
  const dots = pair.dots.map(({ at, zone }) => element("span", { className: `dot is-${zone}`, style: { left: `${100 * at}%` } }));
  const gap = pair.gap ? element("span", { className: "gap caption", textContent: pair.gap }) : null;
  const axis = element("div", { className: "axis" }, element("span", { className: "middle" }), gap, ...dots);
  axis.setAttribute("aria-hidden", "true");
  const count = pair.undecided ? `${pair.undecided.toLocaleString("en")} undecided, by probability` : "All are decided";
  return element(
    "div",
    { className: "line-of-two" },
    element(
      "div",
      { className: "ends" },
      element("span", { className: "quiet" }, "← more like ", cut(pair.given.name)),
      element("strong", { textContent: count }),
      element("span", { className: "quiet" }, "more like ", cut(pair.other.name), " →"),
    ),
    axis,
  );
}

/** The square about a part's box, cut out of the large picture. */
export function createCrop(audit, { path, content_hash, width, height, box: [left, top, right, bottom] }) {
  const side = Math.min(Math.min(width, height), 1.15 * Math.max(right - left, bottom - top));
  const within = (middle, whole) => Math.max(0, Math.min(whole - side, middle - side / 2));
  const image = element("img", { alt: "", loading: "lazy", draggable: false, src: picture("large", audit, path, content_hash) });
  image.style.width = `${(100 * width) / side}%`;
  image.style.left = `${(-100 * within((left + right) / 2, width)) / side}%`;
  image.style.top = `${(-100 * within((top + bottom) / 2, height)) / side}%`;
  return element("span", { className: "cut" }, image);
}
