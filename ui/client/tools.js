// The row below the picture: the map, outlines, how it is drawn, zoom.

import { element } from "./dom.js";

const ROOMY = 700; // pixels
const TIGHT = 560; // below, some words go
const NARROW = 400; // below, so does the original
const SHAPES = { outlines: "outlines on", boxes: "boxes on", none: "outlines off" };
const PALETTES = { red: "red and blue", orange: "orange and purple" };

/**
 * @param stage of stage.js
 * @param {() => void} around shows the picture that a box lies in
 */
export function createTools(stage, around) {
  const key = () => element("kbd", { "aria-hidden": "true" });
  const keys = { map: key(), outlines: key(), smaller: key(), whole: key(), larger: key(), original: key(), around: key() };
  const bare = (text, onclick, ...children) => element("button", { className: "bare tool", type: "button", onclick }, ...children, text);
  const wordy = (text) => element("span", { className: "wordy", textContent: text });
  const hold = bare("", null, keys.map, wordy(" hold to see the"), " map");
  const press = (on) => () => stage.map(on);
  hold.addEventListener("pointerdown", press(true));
  for (const end of ["pointerup", "pointercancel", "pointerleave", "blur"]) hold.addEventListener(end, press(false));
  // On a focused button Space presses, as everywhere: so does this one, for as long as it is held.
  hold.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && stage.map(true));
  hold.addEventListener("keyup", press(false));
  hold.classList.add("strong");
  const shape = element("span");
  const outlines = bare("", () => next(), keys.outlines, shape);
  const strength = element("input", { type: "range", min: "0.1", max: "1", step: "0.05" });
  strength.oninput = () => stage.set({ strength: Number(strength.value) });
  const palette = bare("", () => stage.set({ palette: stage.settings.palette === "red" ? "orange" : "red" }));
  const exact = element("input", { type: "checkbox", onchange: () => stage.set({ smooth: !exact.checked }) });
  const locked = element("input", { type: "checkbox", onchange: () => stage.set({ locked: locked.checked }) });
  const slider = element("label", { className: "slider" }, "Strength ", strength);
  const menu = element("div", { className: "menu" },
    element("label", {}, exact, " Patches as they are"),
    element("label", {}, locked, " Keep the map shown"));
  const more = element(
    "details",
    { className: "more-tools" },
    element("summary", { "aria-label": "How the map is drawn" }, "⋯"),
    menu,
  );
  more.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !more.open) return;
    event.stopPropagation();
    more.open = false;
    more.firstChild.focus();
  });
  more.addEventListener("focusout", (event) => !more.contains(event.relatedTarget) && event.relatedTarget && (more.open = false));
  const zoom = (way, name, kbd) => element("button", { className: "bare tool", type: "button", "aria-label": name, onclick: () => stage.zoom(way) }, kbd);
  const zooms = element("span", { className: "zooms", role: "group", "aria-label": "Zoom" }, zoom(-1, "Smaller", keys.smaller), zoom(0, "The whole picture", keys.whole), zoom(1, "Larger", keys.larger), wordy(" zoom"));
  const original = bare("", () => stage.original(), keys.original, wordy(" original"));
  original.setAttribute("aria-label", "The original");
  const context = bare("", () => around(), keys.around, wordy(" whole"), " picture");
  context.setAttribute("aria-label", "The picture around the box");
  const root = element("div", { className: "tools", role: "group", "aria-label": "The picture's tools" }, hold, outlines, more, zooms, original, context);

  // Where there is room, strength and palette stand in the row, else in the menu.
  const fitted = new ResizeObserver(() => {
    if (root.clientWidth >= ROOMY) more.after(slider, palette);
    else menu.prepend(slider, palette);
    root.classList.toggle("tight", root.clientWidth < TIGHT);
    original.hidden = root.clientWidth < NARROW;
  });
  fitted.observe(root);

  function next() {
    const names = Object.keys(SHAPES);
    stage.set({ shape: names[(names.indexOf(stage.settings.shape) + 1) % names.length] });
  }

  return {
    element: root,
    next,
    /** What the tools say: settings of the stage, and the keys in force; `boxed`: the picture is a box of another one. */
    show(printed, mapped, boxed) {
      context.hidden = !boxed;
      const settings = stage.settings;
      for (const [name, kbd] of Object.entries(keys)) {
        const usual = { smaller: "−", whole: "0", larger: "+" }[name] ?? "";
        kbd.textContent = printed?.[name] ?? usual;
        kbd.hidden = !kbd.textContent;
      }
      shape.textContent = ` ${SHAPES[settings.shape]}`;
      strength.value = String(settings.strength);
      palette.textContent = `Palette: ${PALETTES[settings.palette]}`;
      [exact.checked, locked.checked] = [!settings.smooth, settings.locked];
      for (const tool of [hold, outlines, more, slider, palette]) tool.classList.toggle("off", !mapped);
    },
  };
}
