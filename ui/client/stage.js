// The picture as large as its place allows, its map while it is asked for, the outlines of parts, and what hiding them does.

import { element, svg } from "./dom.js";
import * as captions from "./captions.js";
import { fitted, paint, places, sheetOf } from "./fit.js";
import { drawOutlines } from "./outline.js";
import { drawn, hatchOutside } from "./overlay.js";
import { placed, plateOf } from "./plates.js";
import { createZoom } from "./zoom.js";

const USUAL = { strength: 0.6, smooth: true, palette: "red", shape: "outlines", locked: false };
const SHAPES = ["outlines", "boxes", "none"];
const TINTS = { red: ["224 36 58", "38 99 255"], orange: ["230 120 20", "140 70 240"] };
// Of a map that says how much a patch matters and not for whom.
const UNSIGNED = "0 150 110";

/**
 * @param {{picture: (kind: string, small: object) => string, original: (suspect: object) => Promise<HTMLImageElement>,
 *   act: (name: string) => void, folder?: (folder: string, suspect: object) => Promise<void>, changed: () => void, scaled: (text: string) => void}} handlers
 */
export function createStage(handlers) {
  const picture = element("canvas", { className: "picture", role: "img" });
  const map = element("canvas", { className: "map", "aria-hidden": "true" });
  const sheet = svg("svg", { class: "outlines", "aria-hidden": "true" });
  const plates = element("div", { className: "plates", "aria-hidden": "true" });
  const legend = element("div", { className: "legend plate", "aria-hidden": "true" });
  const beside = element("canvas", { className: "beside", "aria-hidden": "true", hidden: true });
  const told = element("div", { className: "told", hidden: true });
  const hold = element("button", { className: "hold bare", type: "button", hidden: true }, "Hold: map");
  const compared = element("div", { className: "compared plate", hidden: true });
  const box = element(
    "div",
    { className: "stage", tabIndex: -1, role: "group", "aria-label": "The picture" },
    ...[picture, map, sheet, plates, legend, beside, told, compared, hold],
  );
  const settings = { ...USUAL };
  let suspect = null;
  let image = null; // what is drawn: the stage's size of it, or the original
  let came = null; // the picture that the suspect was shown with
  let other = null; // {image, title} of a small picture that is shown large
  let held = false;
  let flickered = false;
  let overlay = null; // of these scores and settings
  let theirs = null; // a map by another method, in the place of the suspect's own
  let worded = null; // the map that the legend speaks of
  let size = { width: 0, height: 0, ratio: 1 };
  let asked = false; // for the original of this suspect
  let keys = {}; // as they are printed

  const zoom = createZoom(box, { changed: () => draw(true), swiped: (way) => handlers.act(way > 0 ? "skip" : "back") });

  /** The rectangle of the suspect's picture, or of another one, at this zoom. */
  const filled = (shown = measures()) => fitted(size, shown, zoom.view);

  /** The map to be seen: while ours is asked for, it stands in the other one's place. */
  const mapped = () => (theirs && !held ? theirs : suspect.map);

  /** The legend of the map to be seen, in these settings. */
  function word() {
    worded = mapped();
    if (worded === theirs) captions.legendOf(legend, theirs, settings, outside());
    else captions.legend(legend, suspect.map, { ...settings, keys }, outside());
  }

  const measures = () => ({ width: suspect.width || image.naturalWidth, height: suspect.height || image.naturalHeight });

  function draw(moving = false) {
    if (!size.width || (!image && !other)) return;
    const large = flickered ? null : other;
    const context = sheetOf(picture, size);
    if (large) {
      // At the same zoom: with the flicker the same place of both is looked at.
      paint(context, large.image, filled({ width: large.image.naturalWidth, height: large.image.naturalHeight }));
    } else paint(context, image, filled());
    numbered(large !== null);
    if (large || !image) {
      if (image) tell(filled());
      return veiled();
    }
    const whole = filled();
    if (suspect.map) {
      drawOutlines(sheet, suspect.map.regions, places(whole, suspect.map, measures()), settings.shape);
      put(whole);
    }
    veiled();
    tell(whole);
    // The original, where what is here has too few pixels for what is looked at.
    const scarce = whole.width * size.ratio > 1.3 * image.naturalWidth && image.naturalWidth < measures().width;
    if (moving && scarce) original();
  }

  /** Outlines and plates tell of our own map only. */
  function numbered(large) {
    for (const part of [sheet, plates]) part.classList.toggle("hidden", large || !suspect.map || mapped() !== suspect.map);
  }

  /** The map shown or hidden: nothing else changes with it. */
  function veiled() {
    const on = Boolean(suspect?.map && image) && !(other && !flickered) && (held || settings.locked || theirs !== null);
    for (const part of [map, legend]) part.classList.toggle("shown", on);
    if (!on) return;
    if (worded !== mapped()) {
      overlay = null;
      word();
      numbered(false);
    }
    drawMap(filled());
  }

  function drawMap(whole) {
    const context = sheetOf(map, size);
    const { crop: [left, top, right, bottom], scores, signed } = mapped();
    const names = signed === false ? [UNSIGNED, UNSIGNED] : TINTS[settings.palette];
    overlay ??= drawn(scores, settings, names.map((tint) => tint.split(" ").map(Number)));
    const crop = {
      left: whole.left + left * whole.fit,
      top: whole.top + top * whole.fit,
      width: (right - left) * whole.fit,
      height: (bottom - top) * whole.fit,
    };
    context.save();
    context.beginPath();
    context.rect(whole.left, whole.top, whole.width, whole.height);
    context.clip();
    context.imageSmoothingEnabled = settings.smooth;
    context.drawImage(overlay, crop.left, crop.top, crop.width, crop.height);
    context.restore();
    if (outside()) hatchOutside(context, whole, crop, 1);
  }

  /** Whether there is something of the picture that the model never saw. */
  function outside() {
    const [left, top, right, bottom] = suspect.map.crop;
    return left > 0.5 || top > 0.5 || right < measures().width - 0.5 || bottom < measures().height - 0.5;
  }

  /** Plates to their places: as they are read from the document at once, then written at once. */
  function put(whole) {
    const place = places(whole, suspect.map, measures());
    const shown = [...plates.children].map((plate) => {
      const region = suspect.map.regions.find((one) => String(one.number) === plate.dataset.number);
      const [[left, top], [right, bottom]] = [place.pixel(region.box[0], region.box[1]), place.pixel(region.box[2], region.box[3])];
      const part = { left, top, width: right - left, height: bottom - top };
      return { plate, part, width: plate.offsetWidth, height: plate.offsetHeight };
    });
    const inSight = ({ part }) =>
      part.left < size.width && part.top < size.height && part.left + part.width > 0 && part.top + part.height > 0;
    const seen = settings.shape === "none" ? [] : shown.filter(inSight);
    const over = [legend, hold].filter((one) => !one.hidden && one.offsetWidth);
    const obstacles = over.map((one) => ({ left: one.offsetLeft, top: one.offsetTop, width: one.offsetWidth, height: one.offsetHeight }));
    const spots = placed(seen, size, obstacles);
    for (const { plate } of shown) plate.classList.add("hidden");
    seen.forEach(({ plate }, at) => {
      plate.classList.remove("hidden");
      plate.style.transform = `translate(${Math.round(spots[at].left)}px, ${Math.round(spots[at].top)}px)`;
    });
  }

  function tell(whole) {
    const { width, height } = measures();
    const full = image.naturalWidth < width ? "" : image.dataset?.original ? ", original" : "";
    handlers.scaled(`${width.toLocaleString("en")} × ${height.toLocaleString("en")}, shown at ${Math.round(100 * whole.fit)}%${full}`);
  }

  async function original() {
    if (asked || !image || !handlers.original) return;
    asked = true;
    const of = suspect;
    try {
      const large = await handlers.original(of);
      if (of !== suspect || !large) return;
      large.dataset.original = "1";
      image = large;
      draw();
    } catch {
      asked = false; // to be asked again
    }
  }

  const resized = new ResizeObserver(() => {
    const next = { width: box.clientWidth, height: box.clientHeight, ratio: devicePixelRatio || 1 };
    if (next.width === size.width && next.height === size.height && next.ratio === size.ratio) return;
    size = next;
    zoom.keep();
  });
  resized.observe(box);

  const press = (on) => (event) => {
    event.preventDefault();
    stage.map(on);
    hold.classList.toggle("pressed", on);
  };
  hold.addEventListener("pointerdown", press(true));
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) hold.addEventListener(end, press(false));
  hold.addEventListener("contextmenu", (event) => event.preventDefault());

  const stage = {
    element: box,
    settings,
    /** Whether a small picture is large in the stage. */
    get comparing() {
      return other !== null;
    },
    /**
     * A suspect with its decoded picture, painted before this returns; without one, what is wrong is said instead.
     * @param {HTMLImageElement|null} decoded
     */
    show(next, decoded) {
      const same = suspect && decoded && next.path === suspect.path && decoded === came;
      came = decoded;
      if (same && next === suspect) return;
      [suspect, overlay] = [next, null];
      // Of the suspect that is shown already, zoom, original and what it is compared with stay.
      if (!same) {
        [image, other, asked, flickered, theirs] = [decoded, null, false, false, null];
        [beside.hidden, compared.hidden] = [true, true];
        zoom.reset();
      }
      if (!size.width) size = { width: box.clientWidth, height: box.clientHeight, ratio: devicePixelRatio || 1 };
      box.classList.remove("skeleton");
      picture.setAttribute("aria-label", captions.described(suspect, settings.palette));
      told.hidden = image !== null;
      hold.hidden = !suspect.map || !image;
      const regions = image ? (suspect.map?.regions ?? []) : [];
      const { for: given, against } = suspect.map ?? {};
      plates.replaceChildren(
        ...regions.flatMap((region) => {
          const plate = plateOf(region, [given, against]);
          if (plate) plate.dataset.number = region.number;
          return plate ? [plate] : [];
        }),
      );
      if (suspect.map && image) word();
      else sheet.replaceChildren();
      if (image) draw();
      else {
        sheetOf(picture, size);
        map.classList.remove("shown");
        legend.classList.remove("shown");
        const sentence = suspect.problem || "This picture cannot be shown.";
        told.replaceChildren(element("p", {}, element("bdi", { dir: "auto", textContent: sentence })));
        if (handlers.folder) told.append(captions.elsewhere((folder) => handlers.folder(folder, suspect)));
        handlers.scaled("");
      }
    },
    /** Nothing but the skeleton. */
    loading() {
      box.classList.add("skeleton");
      for (const part of [told, beside, compared, hold]) part.hidden = true;
      for (const part of [map, legend]) part.classList.remove("shown");
      [suspect, image, other, theirs] = [null, null, null, null];
      sheetOf(picture, size);
      sheet.replaceChildren();
      plates.replaceChildren();
      picture.setAttribute("aria-label", "The next picture is on its way.");
      handlers.scaled("");
    },
    /** The keys in force, as they are printed. */
    printed(now = {}) {
      if (JSON.stringify(now) === JSON.stringify(keys)) return;
      keys = now;
      if (suspect?.map && image) word();
    },
    map(on) {
      if (held === on) return;
      held = on;
      if (suspect?.map && image) veiled();
    },
    lock() {
      stage.set({ locked: !settings.locked });
    },
    /** Settings of the view, and what has changed in them. */
    set(given) {
      Object.assign(settings, given);
      // They may come from a browser's store, which anything can have written.
      if (!Object.hasOwn(TINTS, settings.palette)) settings.palette = USUAL.palette;
      if (!(settings.strength >= 0 && settings.strength <= 1)) settings.strength = USUAL.strength;
      if (!SHAPES.includes(settings.shape)) settings.shape = USUAL.shape;
      overlay = null;
      box.classList.toggle("orange", settings.palette === "orange");
      if (suspect?.map && image) {
        word();
        draw();
      }
      handlers.changed();
    },
    /** A map by another method in the place of ours, shown until null ends it or another suspect comes. */
    method(shown) {
      if (!suspect?.map || !image) return;
      [theirs, overlay, worded] = [shown, null, null];
      if (other) stage.compare(null);
      else draw();
    },
    zoom: (way) => zoom.step(way),
    original,
    /** A decoded picture large in the stage, the suspect small in its corner; null ends it. */
    compare(shown, title = []) {
      other = shown && image ? { image: shown } : null;
      beside.hidden = compared.hidden = other === null;
      handlers.compared(other !== null);
      if (other) {
        const close = element("button", { className: "bare close", type: "button", "aria-label": "Back to the suspect", textContent: "×" });
        close.onclick = () => stage.compare(null);
        compared.replaceChildren(element("span", {}, ...title), close);
        picture.setAttribute("aria-label", compared.firstChild.textContent);
        const scale = Math.min(1, 0.28 * size.width / image.naturalWidth, 0.28 * size.height / image.naturalHeight);
        Object.assign(beside, { width: image.naturalWidth * scale * size.ratio, height: image.naturalHeight * scale * size.ratio });
        Object.assign(beside.style, { width: `${image.naturalWidth * scale}px`, height: `${image.naturalHeight * scale}px` });
        beside.getContext("2d").drawImage(image, 0, 0, beside.width, beside.height);
      } else if (suspect) picture.setAttribute("aria-label", captions.described(suspect, settings.palette));
      draw();
    },
    /** While on, the suspect stands in the place of what it is compared with. */
    flicker(on) {
      flickered = on;
      if (other) draw();
    },
    leave: () => resized.disconnect(),
  };
  return stage;
}
