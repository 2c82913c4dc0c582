// The outlines of parts: along the edges of their patches, red and solid, blue and dashed, each between white and black.

import { svg } from "./dom.js";

/**
 * The edges of a set of patches as closed loops of corners [row, column], inside always to the right. Where two patches
 * touch at a corner only, the loops part there.
 * @param {[number, number][]} cells
 * @returns {[number, number][][]}
 */
export function loops(cells) {
  const inside = new Set(cells.map(([row, column]) => `${row},${column}`));
  const has = (row, column) => inside.has(`${row},${column}`);
  /** @type {Map<string, [number, number][]>} where each edge leads, by where it starts */
  const edges = new Map();
  const add = (from, to) => edges.set(`${from}`, [...(edges.get(`${from}`) ?? []), to]);
  for (const [row, column] of cells) {
    if (!has(row - 1, column)) add([row, column], [row, column + 1]);
    if (!has(row, column + 1)) add([row, column + 1], [row + 1, column + 1]);
    if (!has(row + 1, column)) add([row + 1, column + 1], [row + 1, column]);
    if (!has(row, column - 1)) add([row + 1, column], [row, column]);
  }
  const found = [];
  while (edges.size) {
    const start = edges.keys().next().value.split(",").map(Number);
    const loop = [];
    let at = start;
    let way = null;
    do {
      const choices = edges.get(`${at}`);
      const to = choices.length === 1 || !way ? choices[0] : choices.find((one) => turnsRight(way, at, one)) ?? choices[0];
      const left = choices.filter((one) => one !== to);
      if (left.length) edges.set(`${at}`, left);
      else edges.delete(`${at}`);
      const next = [to[0] - at[0], to[1] - at[1]];
      // A corner is kept only where the way turns.
      if (!way || way[0] !== next[0] || way[1] !== next[1]) loop.push(at);
      way = next;
      at = to;
    } while (at[0] !== start[0] || at[1] !== start[1]);
    found.push(straightened(loop));
  }
  return found;
}

function turnsRight([down, across], at, to) {
  return to[0] - at[0] === across && to[1] - at[1] === -down;
}

/** Without a first corner that lies on a straight line. */
function straightened(loop) {
  const [first, second] = loop;
  const last = loop.at(-1);
  const straight = (first[0] === second[0] && first[0] === last[0]) || (first[1] === second[1] && first[1] === last[1]);
  return straight ? loop.slice(1) : loop;
}

/** The `d` of a path: corners by row and column become places of the stage. */
export function pathOf(region, place, shape) {
  if (shape === "boxes") {
    const [left, top, right, bottom] = region.box;
    const [from, to] = [place.pixel(left, top), place.pixel(right, bottom)];
    return `M${from}L${to[0]},${from[1]}L${to}L${from[0]},${to[1]}Z`;
  }
  return loops(region.cells)
    .map((loop) => `M${loop.map(([row, column]) => place.corner(row, column).join(",")).join("L")}Z`)
    .join("");
}

/**
 * Draw the outlines of parts into an <svg> of the stage's own pixels.
 * @param {SVGElement} sheet
 * @param {object[]} regions as in a suspect's map
 * @param {{corner: (row: number, column: number) => [number, number], pixel: (x: number, y: number) => [number, number]}} place
 * @param {"outlines"|"boxes"|"none"} shape
 */
export function drawOutlines(sheet, regions, place, shape) {
  if (shape === "none") return sheet.replaceChildren();
  const parts = regions.map((region) => {
    const d = pathOf(region, place, shape);
    const lines = ["black", "white", "line"].map((name) => svg("path", { class: name, d }));
    const hatched = region.contradicted ? [svg("path", { class: "hatched", d, fill: "url(#contradicted)" })] : [];
    return svg("g", { class: region.sign > 0 ? "for" : "against", "data-number": region.number }, ...hatched, ...lines);
  });
  sheet.replaceChildren(PATTERN.cloneNode(true), ...parts);
}

const PATTERN = svg(
  "defs",
  {},
  svg(
    "pattern",
    { id: "contradicted", width: 10, height: 10, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { width: 4, height: 10, fill: "#fff", "fill-opacity": 0.85 }),
    svg("rect", { x: 4, width: 3, height: 10, fill: "#000", "fill-opacity": 0.75 }),
  ),
);
