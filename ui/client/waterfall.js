// How the model alone comes to its answer: four rows in log-odds that add up as printed, and the same as a table.

import { element, svg } from "./dom.js";

const BAR = 15; // pixels
const NUMBERS = 58; // after the axis
const MARGIN = 10;
/** Names stand before the axis: `x` of its beginning, the height of a row, and where in it are its name and its bar. */
const BESIDE = { x: 142, row: 27, name: 13.5, bar: 13.5 };
/** Where an axis beside them would be too short, they stand above their bars. */
const ABOVE = { x: MARGIN, row: 40, name: 9, bar: 27 };
const NARROW = 320;

/**
 * @param {{waterfall: {name: string, start: number, end: number, value: number, text: string, share: string}[],
 *   ticks: {at: number, text: string}[], title: string}} map of a suspect
 * @param {number} wide pixels: letters keep their size, the axis takes what is left
 * @returns {HTMLElement} a drawing and, for who hears the page, its table
 */
export function waterfall({ waterfall: rows, ticks, title }, wide) {
  const ends = rows.flatMap(({ start, end }) => [start, end]);
  const [least, most] = [Math.min(...ends, 0), Math.max(...ends, 0)];
  const margin = Math.max(0.06 * (most - least), 0.1);
  const [low, high] = [least - margin, most + margin];
  const place = wide < NARROW ? ABOVE : BESIDE;
  const axis = wide - place.x - NUMBERS - (wide > 400 ? 4 : 1) * MARGIN;
  const at = (value) => place.x + ((value - low) / (high - low)) * axis;
  const height = rows.length * place.row + 24;
  const shown = apart(ticks.filter((tick) => tick.at >= low && tick.at <= high), at);
  const middle = (row) => row * place.row + place.bar;
  const drawing = svg(
    "svg",
    { class: "waterfall", viewBox: `0 0 ${wide} ${height}`, width: wide, height, "aria-hidden": "true" },
    svg(
      "defs",
      {},
      svg(
        "pattern",
        { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(35)" },
        svg("rect", { class: "stroke", width: 2, height: 7 }),
      ),
    ),
    ...shown.flatMap((tick) => [
      svg("line", { class: "grid", x1: at(tick.at), x2: at(tick.at), y1: 0, y2: rows.length * place.row }),
      words("tick", at(tick.at), height - 6, tick.text, "middle"),
    ]),
    ...rows.slice(1).map((row, before) => {
      const x = at(row.start === row.end ? row.start : before === rows.length - 2 ? row.end : row.start);
      return svg("line", { class: "step", x1: x, x2: x, y1: middle(before), y2: middle(before + 1) });
    }),
    ...rows.flatMap((row, number) => drawnRow(row, kindOf(row, number, rows.length), at, place.x + axis, wide, {
      name: number * place.row + place.name, bar: middle(number),
    })),
    svg("line", { class: "total", x1: wide - NUMBERS, x2: wide, y1: (rows.length - 1) * place.row, y2: (rows.length - 1) * place.row }),
  );
  return element("div", { className: "chart" }, drawing, element("div", { className: "heard" }, table(rows, title)));
}

function kindOf(row, number, count) {
  return number === 0 ? "origin" : number === count - 1 ? "answer" : row.value >= 0 ? "for" : "against";
}

/** @param {{name: number, bar: number}} down the middles of its name and of its bar */
function drawnRow(row, kind, at, end, wide, down) {
  const y = down.bar;
  const name = words(`name ${kind}`, 0, down.name, row.name);
  const number = words(`value ${kind}`, wide, y, row.text, "end");
  if (["origin", "answer"].includes(kind)) {
    const x = at(row.end);
    const right = x < end - 60;
    const share = words(`share ${kind}`, x + (right ? 11 : -11), y, row.share, right ? "start" : "end");
    return [name, svg("circle", { class: kind, cx: x, cy: y, r: 5.5 }), share, number];
  }
  const [from, to] = [at(row.start), at(row.end)].sort((a, b) => a - b);
  const bar = { x: from, y: y - BAR / 2, width: Math.max(to - from, 1), height: BAR, rx: 2 };
  const hatch = kind === "against" ? [svg("rect", { ...bar, fill: "url(#hatch)" })] : [];
  return [name, svg("rect", { class: `bar ${kind}`, ...bar }), ...hatch, number];
}

function words(kind, x, y, text, anchor = "start") {
  const made = svg("text", { class: kind, x, y, "text-anchor": anchor, "dominant-baseline": "central" });
  made.textContent = text;
  return made;
}

/** Ticks that do not touch: fifty percent first, then outwards. */
function apart(ticks, at) {
  const kept = [];
  for (const tick of [...ticks].sort((a, b) => Math.abs(a.at) - Math.abs(b.at))) {
    if (kept.every((one) => Math.abs(at(one.at) - at(tick.at)) >= 4 * MARGIN)) kept.push(tick);
  }
  return kept;
}

function table(rows, title) {
  const head = ["Step", "Log-odds", "Share"].map((text) => element("th", { scope: "col", textContent: text }));
  return element(
    "table",
    {},
    element("caption", { textContent: title }),
    element("thead", {}, element("tr", {}, ...head)),
    element(
      "tbody",
      {},
      ...rows.map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row", textContent: row.name }),
          element("td", { textContent: row.text }),
          element("td", { textContent: row.share }),
        ),
      ),
    ),
  );
}
