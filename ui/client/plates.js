// The plates that tell what hiding a part does: near it, inside the stage, over neither each other nor, if that can be, evidence.

import { element } from "./dom.js";
import { cut } from "./names.js";

const GAP = 8; // pixels from a part to its plate
const EDGE = 6; // from the stage's edge
const GRID = 12; // fallback places a side

/** @typedef {{left: number, top: number, width: number, height: number}} Rectangle */

/** A plate for a part that was measured, else null. */
export function plateOf(region, names) {
  if (!region.before) return null;
  return element(
    "div",
    { className: `plate ${region.sign > 0 ? "for" : "against"}` },
    element("span", { className: "number", textContent: String(region.number) }),
    element("span", { className: "what" }, ...worded(region.text, names)),
    element("span", { className: "change", textContent: `${region.before} → ${region.after}` }),
  );
}

/** "hide this: garbage truck": the name by itself, cut where it is long; "this" goes where there is little room. */
function worded(text, names) {
  const name = names.find((one) => text.endsWith(one)) ?? "";
  const before = text.slice(0, text.length - name.length);
  const [first, rest] = before.startsWith("hide this") ? ["hide", before.slice("hide this".length)] : [before, ""];
  const roomy = rest ? [element("span", { className: "roomy", textContent: " this" }), rest] : [];
  return [first, ...roomy, ...(name ? [cut(name, "", 24)] : [])];
}

/**
 * Where plates stand.
 * @param {{part: Rectangle, width: number, height: number}[]} plates the part each belongs to, and its own size
 * @param {{width: number, height: number}} stage
 * @param {Rectangle[]} obstacles what lies over the picture beside them
 * @returns {{left: number, top: number}[]} inside the stage wherever it has room for them
 */
export function placed(plates, stage, obstacles = []) {
  const taken = [];
  for (const { part, width, height } of plates) {
    const all = [...besides(part, width, height), ...anywhere(stage, width, height)].map(([left, top]) => ({
      left: Math.max(EDGE, Math.min(left, stage.width - width - EDGE)),
      top: Math.max(EDGE, Math.min(top, stage.height - height - EDGE)),
      width,
      height,
    }));
    const cost = (spot) =>
      1000 * sum(taken, (one) => shared(spot, one)) +
      10 * sum(obstacles, (one) => shared(spot, one)) +
      2 * sum(plates, (one) => shared(spot, one.part)) +
      40 * away(spot, part);
    const best = all.reduce((least, spot) => (cost(spot) < cost(least) ? spot : least));
    taken.push(best);
  }
  return taken.map(({ left, top }) => ({ left, top }));
}

function besides(part, width, height) {
  const [right, bottom] = [part.left + part.width, part.top + part.height];
  const middle = part.top + (part.height - height) / 2;
  return [
    [part.left - EDGE, part.top - height - GAP],
    [right - width, part.top - height - GAP],
    [part.left - EDGE, bottom + GAP],
    [right - width, bottom + GAP],
    [right + GAP, middle],
    [part.left - width - GAP, middle],
  ];
}

function anywhere(stage, width, height) {
  return Array.from({ length: GRID * GRID }, (_, at) => [
    ((at % GRID) / (GRID - 1)) * (stage.width - width),
    (Math.floor(at / GRID) / (GRID - 1)) * (stage.height - height),
  ]);
}

/** The area that two rectangles share. */
function shared(a, b) {
  const across = Math.min(a.left + a.width, b.left + b.width) - Math.max(a.left, b.left);
  const down = Math.min(a.top + a.height, b.top + b.height) - Math.max(a.top, b.top);
  return across > 0 && down > 0 ? across * down : 0;
}

/** Pixels between two rectangles, 0 where they touch. */
function away(a, b) {
  const across = Math.max(0, a.left - (b.left + b.width), b.left - (a.left + a.width));
  const down = Math.max(0, a.top - (b.top + b.height), b.top - (a.top + a.height));
  return Math.hypot(across, down);
}

function sum(all, of) {
  return all.reduce((total, one) => total + of(one), 0);
}
