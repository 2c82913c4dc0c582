// How Review looks: its places, and one call that changes picture, labels and buttons together. No network, no keys.

import { element } from "./dom.js";
import { createCard } from "./card.js";
import { createHead, createPanel } from "./panel.js";
import { Resting } from "./resting.js";
import { createStage } from "./stage.js";
import { createTools } from "./tools.js";

const NEAR = 2; // of so many typical pictures and one similar one, a phone's strip is made
const WIDE = 2.2; // times as wide as high: such a picture stands above the card

/**
 * @param {HTMLElement} root empty
 * @param {object} given the handlers: `act(name, event)`, `picture(kind, small)`, `original(suspect)`; optional
 *   `changed(settings)`, `open(small)`, `more()`
 */
export function createView(root, given) {
  const resting = new Resting();
  const handlers = { changed() {}, more() {}, fill: (...picture) => resting.fill(...picture), ...given };
  let current = null;
  let state = {};
  let held = false; // C, and nothing was compared before
  let remembered = null; // the small picture that C compares with

  const size = element("span", { className: "size" });
  const stage = createStage({
    ...handlers,
    scaled: (text) => (size.textContent = text),
    compared: (on) => card.select(on ? remembered?.path : null),
    changed: () => {
      tools.show(state.keys, Boolean(current?.map), Boolean(current?.annotation));
      handlers.changed({ ...stage.settings });
    },
  });
  const tools = createTools(stage, () => handlers.act("around"));
  const open = (small, title) => (handlers.open ? handlers.open(small, title) : compare(small, title));
  const card = createCard({ ...handlers, open });
  const head = createHead(handlers);
  const panel = createPanel(handlers, "whole", "h1");
  const notice = createPanel(handlers, "over", "h2");
  const slot = (name) => element("div", { className: name });
  const slots = { chips: slot("chip-slot"), last: slot("last-slot"), dialogs: slot("dialog-slot") };
  const chips = element("div", { className: "chips-row" }, slots.chips, size);
  const live = element("div", { className: "heard", role: "status", "aria-live": "polite" });
  const skip = element("button", { className: "skip-link", type: "button", onclick: () => card.decisions.A.focus() }, "To the decisions");
  const peek = element("button", { className: "bare peek", type: "button", "aria-expanded": "false" });
  const close = element("button", { className: "small sheet-close", type: "button", textContent: "Close" });
  card.proof.prepend(close);
  // With the decisions, and beyond them: they stay in their places when it comes.
  card.deciding.append(notice.element);
  const waiting = element("div", { className: "waiting", "aria-hidden": "true" },
    ...["title", "lead", "row", "row"].map((kind) => element("div", { className: `skeleton ${kind}` })),
    element("p", { textContent: "The next picture is on its way. Keys count from when you see it." }));
  // In the order of the focus: picture, decisions, other actions, tools, last decisions, comparisons, chips.
  const review = element("div", { className: "review", hidden: true },
    ...[skip, head.element, stage.element, card.say, waiting, card.deciding, card.notice],
    ...[tools.element, slots.last, peek, card.proof, chips, panel.element, live]);
  const styles = ["review", "narrow"].map((name) => element("link", { rel: "stylesheet", href: new URL(`./${name}.css`, import.meta.url).href }));
  const styled = styles.map((style) => new Promise((done) => (style.onload = style.onerror = done)));
  Promise.all(styled).then(() => (review.hidden = false));
  root.append(...styles, review, slots.dialogs);

  const sheet = (on) => {
    review.classList.toggle("sheet", on);
    peek.setAttribute("aria-expanded", String(on));
    (on ? close : peek).focus();
  };
  const unsheet = () => review.classList.contains("sheet") && sheet(false);
  peek.onclick = () => sheet(!review.classList.contains("sheet"));
  close.onclick = () => sheet(false);
  card.proof.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !review.classList.contains("sheet")) return;
    event.stopPropagation();
    sheet(false);
  });

  /** The room that is left below what stands above: all sizes follow from it. */
  function measured() {
    const top = Math.max(0, review.getBoundingClientRect().top + (scrolled()?.scrollTop ?? 0));
    review.style.setProperty("--top", `${Math.round(top)}px`);
    review.style.setProperty("--width", `${review.clientWidth}px`);
    card.fit(card.say.clientWidth);
  }
  const scrolled = () => root.getRootNode().host?.closest?.("[data-testid='stMain']") ?? document.scrollingElement;
  const resized = new ResizeObserver(measured);
  resized.observe(review);
  addEventListener("resize", measured);
  document.fonts?.ready.then(measured);
  // On a phone the thumb has the decisions; notes and tags stand with the picture's tools.
  const narrow = matchMedia("(max-width: 640px) and (min-height: 480px)");
  const moved = () => {
    const { note, tag, other, back } = card.others;
    if (narrow.matches) tools.element.append(note, tag);
    else {
      other.after(note);
      note.after(tag);
    }
    back.classList.toggle("pushed", !narrow.matches);
  };
  narrow.addEventListener("change", moved);
  moved();

  async function compare(small, title = null, meanwhile = "") {
    if (!small) {
      stage.compare(null);
      return;
    }
    const of = current;
    remembered = small;
    const image = new Image();
    image.src = handlers.picture("large", small);
    try {
      await image.decode();
    } catch {
      return view.say("That picture cannot be shown.");
    }
    const late = meanwhile === "held" && !held;
    if (of === current && !late) stage.compare(image, title ?? [small.name]);
  }

  function peeked(suspect) {
    const near = [...suspect.typical.slice(0, NEAR).map((strip) => strip.pictures[0]), suspect.similar?.pictures[0]].filter(Boolean);
    const shown = narrow.matches ? near.slice(0, 3) : [];
    const images = shown.map((small) => {
      const image = element("img", { alt: "" });
      handlers.fill(image, handlers.picture("small", small));
      return image;
    });
    const text = element("span", { className: "peek-text" }, element("strong", { textContent: "Compare" }), element("span", { textContent: "similar pictures, how the model decides" }));
    peek.replaceChildren(...images, text, element("span", { className: "arrow", "aria-hidden": "true", textContent: "⌃" }));
    peek.hidden = near.length === 0 && !suspect.map;
  }

  const view = {
    slots,
    stage,
    /** A suspect and its decoded picture (null: it has none), in one frame. */
    show(suspect, image, now = {}) {
      const began = performance.now();
      const same = suspect === current;
      // Below the sheet another picture would be decided unseen.
      if (suspect.path !== current?.path) unsheet();
      // The same picture, of which something was measured.
      const kept = same || (current !== null && suspect.typical === current.typical);
      [current, state] = [suspect, now];
      if (!kept) {
        remembered = null;
        resting.leave();
      }
      review.classList.remove("loading", "alone");
      review.classList.toggle("blind", suspect.blind);
      review.classList.toggle("panorama", (suspect.width || image?.naturalWidth || 1) > WIDE * (suspect.height || image?.naturalHeight || 1));
      panel.show(null);
      if (now.settings) Object.assign(stage.settings, now.settings);
      card.show(suspect, { ...now, missing: !image }, same);
      if (!kept) peeked(suspect);
      tools.show(now.keys, Boolean(suspect.map), Boolean(suspect.annotation));
      head.key(now.keys?.help ?? "");
      stage.printed(now.keys);
      stage.show(suspect, image);
      performance.measure("gradattn.show", { start: began, end: performance.now() });
    },
    /** The one skeleton: nothing of the old suspect is left, and no button decides. */
    loading() {
      current = null;
      resting.leave();
      review.classList.add("loading");
      review.classList.remove("alone");
      panel.show(null);
      card.loading();
      stage.loading();
    },
    head: head.show,
    /** Instead of a suspect; null ends it. */
    panel(shown) {
      panel.show(shown, state.keys);
      if (shown) unsheet();
      review.classList.toggle("alone", shown !== null);
      review.classList.remove("loading");
      if (!shown) return;
      current = null;
      review.classList.remove("panorama");
      resting.leave();
    },
    /** Beside the decisions of a suspect; null ends it. */
    notice: (shown) => notice.show(shown, state.keys),
    map: stage.map,
    /** A map by another method, in sight; null ends it. */
    method(shown) {
      if (shown) unsheet();
      stage.method(shown);
    },
    lock: stage.lock,
    zoom: stage.zoom,
    original: stage.original,
    outlines: tools.next,
    compare,
    /** While on, the suspect and what it is compared with change places; without such a one, the first typical picture is it. */
    async flicker(on) {
      if (!on && held) {
        held = false;
        return stage.compare(null);
      }
      if (stage.comparing || !on) return stage.flicker(on);
      held = true;
      const first = remembered ?? current?.typical.find((strip) => strip.pictures.length)?.pictures[0] ?? current?.similar?.pictures[0];
      if (first && !stage.comparing) await compare(first, ["Typical ", cut(first.name)], "held");
    },
    flash: card.flash,
    /** To the picture. */
    focus: () => stage.element.focus({ preventScroll: true }),
    say: (text) => (live.textContent = text),
    get settings() {
      return { ...stage.settings };
    },
    set settings(now) {
      stage.set(now);
    },
    leave() {
      resized.disconnect();
      removeEventListener("resize", measured);
      narrow.removeEventListener("change", moved);
      stage.leave();
      root.replaceChildren();
    },
  };
  return view;
}
