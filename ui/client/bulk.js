// The bar below Grid: which pictures a threshold takes, what is to be expected of relabelling them, and the ways on.
// Every number and sentence comes from the server; here is only which of them is shown.

import { element } from "./dom.js";
import { rich } from "./names.js";

const LEAST = 50; // percent; what is less likely is not for many at once

/** @typedef {{at: number, text: string, count: number, share: string, expected: [string, string][], belief: string,
 *   relabel: string, supported: boolean}} Step */
/** @typedef {{bins: number[], steps: Step[], above: string, undecided: number, check: string}} Histogram */

/**
 * @param {{least: (percent: number) => void, decide: (decision: string) => void, review: () => void, clear: () => void, undo: () => void}} does
 */
export function createBar(does) {
  const above = element("span", { className: "caption quiet above" });
  const bars = element("div", { className: "bins" });
  bars.setAttribute("aria-hidden", "true");
  const slider = element("input", { type: "range", min: LEAST, max: 99, step: 1, className: "threshold" });
  slider.setAttribute("aria-label", "Suggestions above");
  const shown = element("output", { className: "at" });
  const ends = [LEAST, 60, 70, 80, 90, 100].map((percent) => {
    const end = element("span", { textContent: `${percent}%` });
    end.style.left = place(percent);
    return end;
  });
  const axis = element("div", { className: "axis caption quiet" }, ...ends, shown);
  axis.setAttribute("aria-hidden", "true");
  const chart = element(
    "div",
    { className: "chart" },
    element("div", { className: "over" }, element("span", { className: "caption quiet", textContent: "Suggestions above" }), above),
    element("div", { className: "scale" }, bars, slider),
    axis,
  );
  const expected = element("p", { className: "expected" });
  const belief = element("p", { className: "caption quiet" });
  const told = element("p", { className: "told" });
  const words = element("div", { className: "words" }, told, expected, belief);
  const relabel = element("button", { type: "button", className: "relabel" });
  const review = element("button", { type: "button", className: "review" });
  const kinds = { keep: "Label is right…", unsure: "Unsure…", remove: "Remove…", relabel: "Another class…" };
  const others = Object.entries(kinds).map(([decision, textContent]) => {
    const button = element("button", { type: "button", className: "small", textContent });
    button.onclick = () => does.decide(decision);
    return button;
  });
  const clear = element("button", { type: "button", className: "small plain" });
  const picked = element("div", { className: "picked" }, ...others, clear);
  const undo = element("button", { type: "button", className: "small undo" }, "Undo", element("kbd", { textContent: "Z" }));
  const ways = element("div", { className: "ways" }, relabel, review);
  const root = element("div", { className: "bulk" }, chart, words, element("div", { className: "acts" }, picked, ways));
  relabel.onclick = () => does.decide("accept");
  review.onclick = () => does.review();
  clear.onclick = () => does.clear();
  undo.onclick = () => does.undo();
  slider.oninput = () => does.least(Number(slider.value));

  function threshold({ histogram, step, least }) {
    above.textContent = histogram.above;
    slider.value = String(least);
    slider.setAttribute("aria-valuetext", step ? `${step.text}: ${step.share}` : "");
    shown.textContent = `${least}%`;
    shown.style.left = place(least);
    for (const end of ends) end.hidden = Math.abs(Number.parseFloat(end.style.left) - Number.parseFloat(place(least))) < 9;
    const most = Math.max(1, ...histogram.bins);
    const width = (100 - LEAST) / histogram.bins.length;
    bars.replaceChildren(
      ...histogram.bins.map((count, index) => {
        const bin = element("span", { className: LEAST + (index + 1) * width > least + 1e-9 ? "is-on" : "" });
        bin.style.height = count ? `${Math.max(12, (100 * count) / most)}%` : "0";
        return bin;
      }),
    );
  }

  /**
   * @param {{histogram: Histogram, step: ?Step, least: number, picked: ?{count: number, step: Step}, readOnly: boolean,
   *   canUndo: boolean, told: string}} state
   */
  function show(state) {
    threshold(state);
    chart.hidden = !state.histogram.undecided;
    const step = state.picked ? state.picked.step : state.step;
    expected.replaceChildren(...(step?.count ? rich(step.expected) : []));
    belief.textContent = step?.count ? `${step.belief} ${state.histogram.check}` : "";
    told.replaceChildren(...(state.told ? [state.told, " "] : []), ...(state.canUndo ? [undo] : []));
    relabel.textContent = step?.relabel ?? "";
    relabel.hidden = state.readOnly || !step?.count;
    review.replaceChildren(
      state.picked ? `Review the ${state.picked.count.toLocaleString("en")} one by one` : "Review one by one",
      element("kbd", { textContent: "Enter" }),
    );
    review.hidden = !state.picked && !state.histogram.undecided && !state.listed;
    const bulkFirst = Boolean(step?.supported) && !relabel.hidden;
    relabel.classList.toggle("primary", bulkFirst);
    review.classList.toggle("primary", !bulkFirst);
    picked.hidden = !state.picked || state.readOnly;
    clear.textContent = state.picked ? `${state.picked.count.toLocaleString("en")} selected: clear` : "";
  }

  return { root, show };
}

/** Where a probability stands on the axis. */
function place(percent) {
  return `${(100 * (percent - LEAST)) / (100 - LEAST)}%`;
}
