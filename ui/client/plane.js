// What the map is drawn in: its tools, the area that takes the pointer, names and lasso over it, the place beside it.

import { element, svg } from "./dom.js";
import { Plot } from "./plot.js";

const LEGEND = { w: "probably wrong", e: "either", r: "probably right", d: "decided", ".": "not a suspect" };
const SIDE = 18; // CSS pixels of a shape in the legend

/** The colours of the theme as a canvas needs them; all one colour where the system forces its own. */
export function coloursOf(root) {
  if (matchMedia("(forced-colors: active)").matches) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const [ink, ground] = dark ? ["#fff", "#000"] : ["#000", "#fff"];
    return { ink, ground, quiet: ink, wrong: ink, either: ink, right: ground, decided: ink };
  }
  const style = getComputedStyle(root);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), ground: of("--panel"), quiet: of("--line-2"), wrong: of("--amber"),
    either: of("--amber-line"), right: of("--band"), decided: of("--primary") };
}

/** The shapes of the map with what they mean. */
export function createLegend(colours) {
  const items = Object.entries(LEGEND).map(([state, words]) => {
    const canvas = element("canvas", { width: 2 * SIDE, height: 2 * SIDE, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    context.translate(SIDE, SIDE);
    context.scale(2, 2);
    Plot.prototype.paint.call({ colours }, context, state, state === "." ? 3.5 : 6);
    return element("li", {}, canvas, words);
  });
  return element("ul", { className: "legend caption", "aria-label": "Shapes" }, ...items);
}

/**
 * @param {HTMLElement} root
 * @param {{mode: (mode: string) => void, filter: () => void, zoom: (factor: number) => void, finder: HTMLElement}} does
 *   `zoom(0)` is the whole map
 */
export function createPlane(root, colours, does) {
  const modes = Object.fromEntries([["lasso", "Lasso", "L"], ["move", "Move", "H"]].map(([mode, text, letter]) => [
    mode,
    element("button", { type: "button", className: "chip", onclick: () => does.mode(mode) }, text,
      element("kbd", { textContent: letter })),
  ]));
  const shown = element("select", { onchange: does.filter, "aria-label": "Which pictures are shown" });
  const zooms = [["Closer", "+", 1.5], ["Farther", "−", 1 / 1.5], ["Whole map", "0", 0]].map(([label, text, factor]) =>
    element("button", { type: "button", className: "small", textContent: text, title: label, "aria-label": label,
      onclick: () => does.zoom(factor) }));
  const canvas = element("canvas", { className: "points", role: "img" });
  const labels = element("div", { className: "labels", "aria-hidden": "true" });
  const path = svg("path");
  const line = svg("svg", { class: "lasso", "aria-hidden": "true" }, path);
  const area = element("div", { className: "area", tabIndex: 0, role: "group",
    "aria-label": "Map. Arrow keys move it, plus and minus zoom. Classes can be selected from the list." },
  canvas, labels, line);
  const note = element("p", { className: "caption note" });
  const message = element("div", { className: "message", role: "status", hidden: true });
  const trouble = element("p", { className: "notice trouble", role: "alert" });
  const preview = element("div", { className: "preview", "aria-hidden": "true", hidden: true });
  const side = element("div", { className: "side" });
  const heard = element("div", { className: "heard", "aria-live": "polite" });
  const status = element("p", { className: "status caption quiet" });
  const legend = createLegend(colours);
  const beside = element("section", { className: "beside", "aria-label": "Selection" },
    element("h1", { textContent: "Map of the dataset" }), side);
  const tools = element("div", { className: "tools" }, modes.lasso, modes.move, shown, does.finder,
    element("span", { className: "zooms" }, ...zooms), legend);
  const stage = element("div", { className: "map-stage" }, area, note, message, preview, trouble);
  root.append(heard, element("div", { className: "map" }, status, tools, stage, beside));
  return { modes, shown, canvas, labels, path, area, note, message, trouble, preview, side, heard, status, legend };
}
