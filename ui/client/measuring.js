// What the model is asked anew about the suspect on the screen: all its parts measured, and its map by another method.
// The page goes on meanwhile; what comes for a suspect that was left is kept with it and not drawn.

import * as api from "./api.js";
import { element, fill } from "./dom.js";

const PATIENCE = 300_000; // ms: the model may have to be loaded first
// What numbers that were measured may change; what was decided meanwhile stays.
const NUMBERS = ["map", "notice", "headline", "reason", "case", "primary"];

/**
 * The row below the sum: what was measured of it, and the two buttons.
 * @param {(name: string) => (event: Event) => void} press
 */
export function createMeasureRow(press) {
  const cost = element("span", { className: "quiet" });
  const words = element("span", { className: "label" });
  const measure = element("button", { type: "button", className: "small", onclick: press("measure"), dataset: { act: "measure" } }, words, cost);
  const methods = element("button", { type: "button", className: "small", onclick: press("methods"), dataset: { act: "methods" } });
  const said = element("span", { className: "caption quiet" });
  const row = element("div", { className: "measuring" }, measure, methods, said);
  return {
    element: row,
    /** `state.measuring`: as Measuring.of gives it; without one there is nobody to ask. */
    show({ map }, { measuring: now, readOnly, missing }) {
      row.hidden = !map || !now || Boolean(readOnly || missing);
      if (row.hidden) return;
      const { passes = "", parts = "" } = map.measuring ?? {};
      measure.hidden = !passes;
      measure.setAttribute("aria-disabled", String(Boolean(now.busy)));
      words.textContent = now.busy ? "Measuring…" : "Measure all parts";
      cost.textContent = ` ${passes}${now.took && !now.busy ? `, ${now.took}` : ""}`;
      methods.textContent = now.method ? "Back to our map" : now.drawing ? "Drawing…" : "Other methods…";
      methods.setAttribute("aria-disabled", String(Boolean(now.drawing)));
      said.textContent = now.problem || (now.method ? now.method : now.busy && !now.took ? "The model is loaded first." : parts ? `${parts}.` : "");
      said.classList.toggle("amber", Boolean(now.problem));
    },
  };
}

export class Measuring {
  /** @param review of review.js */
  constructor(review) {
    this.review = review;
    this.busy = new Set(); // paths
    this.problems = new Map();
    this.took = "";
    this.drawing = null; // the item whose map by another method is on its way
    this.shown = null; // the note of the method that is drawn
  }

  get item() {
    return this.review.queue.current;
  }

  /** Another suspect, or none: our own map is the one that is shown. */
  left() {
    if (this.shown === null) return;
    this.shown = null;
    this.review.view.method(null);
  }

  /** What the row shows of an item. */
  of(item) {
    const { path } = item;
    return {
      busy: this.busy.has(path), problem: this.problems.get(path) ?? "", took: this.took,
      drawing: this.drawing === item, method: this.shown ?? "",
    };
  }

  async measure() {
    const { review, item } = this;
    const { path } = item ?? {};
    if (!item?.suspect?.map?.measuring?.passes || this.busy.has(path)) return;
    this.busy.add(path);
    this.problems.delete(path);
    review.view.compare(null);
    review.view.focus();
    review.view.say("Measuring: parts of the picture are left out and the model is asked again.");
    review.render();
    try {
      this.measured(item, await api.post("measure", review.actions.which(path), { patience: PATIENCE }));
    } catch (error) {
      this.failed(item, `It could not be measured. ${error.message}`);
    }
    this.busy.delete(path);
    review.render();
  }

  measured(item, answer) {
    const { review } = this;
    this.took = answer.map?.measuring?.took || this.took;
    // It was let go of, or has been read anew since; then it comes with its numbers, or did.
    if (!item.suspect || answer.blind) return;
    const names = item.suspect.decision || answer.decision ? ["map"] : NUMBERS;
    item.suspect = { ...item.suspect, ...Object.fromEntries(names.map((name) => [name, answer[name]])) };
    if (item !== this.item) return;
    const parts = answer.map.regions.filter((region) => region.before);
    const changes = parts.map(({ number, text, before, after }) => `Part ${number}, ${text}: ${before} to ${after}.`);
    review.view.say(["Measured.", `${answer.map.measuring?.parts ?? ""}.`, ...changes].join(" "));
  }

  /** The list of methods; again while one is drawn, back to our map. */
  async choose() {
    const { review, item } = this;
    if (!item?.suspect?.map || this.drawing) return;
    if (this.shown !== null) return this.ours();
    const list = element("ul", { className: "methods" }, element("li", { className: "quiet", textContent: "…" }));
    const dialog = review.dialogs.show("Maps by other methods", [
      element("p", { className: "quiet caption", textContent: "Drawn in the place of ours until Esc or the next picture. Each has a scale of its own, and none of its numbers is ours." }),
      list,
    ], { kind: "wide" });
    try {
      this.methods ??= await api.get("methods", { audit: review.audit }, { patience: PATIENCE });
    } catch (error) {
      fill(list, element("li", { className: "amber", textContent: error.message }));
      return;
    }
    fill(list, ...this.methods.map((method) => element("li", {}, element("button", {
      type: "button", className: "plain", onclick: () => { dialog.end(); this.draw(item, method.name); },
    }, element("strong", { textContent: method.title }), element("span", { className: "caption quiet", textContent: `${method.signed ? "" : "unsigned · "}${method.passes} · ${method.says}` })))));
    if (dialog.isConnected) list.querySelector("button")?.focus();
  }

  async draw(item, method) {
    const { review } = this;
    if (item !== this.item) return;
    this.drawing = item;
    this.problems.delete(item.path);
    review.render();
    try {
      const map = await api.post("method", { audit: review.audit, path: item.path, method }, { patience: PATIENCE });
      if (item === this.item && review.drawn?.item === item) {
        this.shown = map.note;
        review.view.method(map);
        review.view.say(`${map.title}. ${map.note}`);
      }
    } catch (error) {
      this.failed(item, `That map cannot be drawn. ${error.message}`);
    }
    this.drawing = null;
    review.render();
  }

  ours() {
    this.left();
    this.review.view.focus();
    this.review.view.say("Our own map.");
    this.review.render();
  }

  failed(item, problem) {
    this.problems.set(item.path, problem);
    if (item === this.item) this.review.say(problem);
  }
}
