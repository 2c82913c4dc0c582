// The question before many pictures are decided at once: each is shown, the least sure first, and can be taken out.
// Nothing is stored before all that are left in have been looked at, and what cannot be shown is neither kept nor relabelled.

import { Board } from "./cards.js";
import { element } from "./dom.js";
import { rich } from "./names.js";
import { createLarge } from "./large.js";
import { Looked } from "./looked.js";

const PAUSE = 600; // milliseconds before the button that led from screen to screen stores
const VERBS = { accept: "Relabel", relabel: "Relabel", keep: "Keep", remove: "Remove", unsure: "Mark as unsure" };

/** @typedef {{card: import("./cards.js").Card, decision: string, new_label: ?string, id: string, parts: number[]}} Choice */
/** @typedef {{choices: Choice[], sums: string[], most_out: ?number, expected_out: string, explained: string, note: string,
 *   to: string, batch: string, supported: boolean}} Preview `parts` of a choice belong to `sums`, one number each */

/**
 * Ask about these pictures.
 * @param {HTMLElement} root
 * @param {Preview} preview
 * @param {{audit: string, decision: string, named: boolean, store: (choices: Choice[], reviewer: string) =>
 *   Promise<string>, review: (paths: string[]) => void, ended: () => void}} asked `store` gives one sentence where
 *   nothing was stored, else an empty one; whoever is not `named` is asked for a name
 */
export function confirm(root, preview, { audit, decision, named, ...does }) {
  const dialog = element("dialog", { className: "confirm" });
  const out = new Set();
  const all = preview.choices;
  const lost = ({ card, decision: each }) => looked.missing.has(card.path) && ["relabel", "keep"].includes(each);
  const inside = () => all.filter((choice) => !out.has(choice.card.path) && !lost(choice));
  const large = createLarge(dialog, audit);
  const board = new Board({
    audit,
    has: (path) => !out.has(path),
    tick: (paths, on) => {
      for (const path of paths) on ? out.delete(path) : out.add(path);
      draw();
    },
    enter: ({ path }) => {
      board.tick([path], out.has(path));
    },
    large,
    label: "The pictures, the least sure first",
  });
  const title = element("h2", { id: "confirm-title" });
  const sums = element("div", { className: "sums" });
  const note = element("p", { className: "notice", role: "status" });
  const problem = element("p", { className: "notice", role: "alert", hidden: true });
  const cancel = element("button", { type: "button" }, "Cancel", element("kbd", { textContent: "Esc" }));
  const undone = element("span", { className: "caption quiet" });
  const yes = element("button", { type: "button" });
  const review = element("button", { type: "button", textContent: `Review the ${all.length} one by one` });
  const who = element("input", { type: "text", placeholder: "Your name", maxLength: 100, hidden: named });
  who.setAttribute("aria-label", "Your name, stored with the decisions");
  who.oninput = () => draw();
  const key = (name) => element("kbd", { textContent: name });
  const keys = [" · click or ", key("Enter"), " takes a picture out · hover or hold ", key("Space"), ": large"];
  const help = element("span", { className: "caption quiet" }, preview.explained, element("span", { className: "keys" }, ...keys));
  dialog.setAttribute("aria-labelledby", "confirm-title");
  dialog.append(
    element("header", {}, title, help),
    element("div", { className: "pictures" }, board.root, sums),
    ...(preview.note ? [element("p", { className: "caption quiet", textContent: preview.note })] : []),
    note,
    problem,
    element("footer", {}, cancel, undone, element("span", { className: "space" }), who, yes, review),
  );
  board.show([{ heading: [], cards: all.map(({ card }) => card) }]);
  const looked = new Looked(board.items, () => draw());
  let ready = null; // when all had been looked at
  let led = false; // by the button, from screen to screen
  let storing = false;
  const early = () => ready === null || (led && performance.now() - ready < PAUSE);

  function draw() {
    const kept = inside();
    const paths = kept.map(({ card }) => card.path);
    const left = looked.left(paths).length;
    const gone = all.filter((choice) => lost(choice) && !out.has(choice.card.path)).length;
    const part = kept.length === all.length ? `${all.length}` : `${kept.length} of ${all.length}`;
    title.textContent = `${deed(kept, part)}?`;
    sums.replaceChildren(
      element("p", { className: "caption quiet", textContent: `Of the ${kept.length} still in` }),
      ...tenths(kept.map(({ parts }) => parts), preview.sums.length).map((sum, index) =>
        element("p", {}, element("strong", { textContent: sum }), ` ${preview.sums[index]}`),
      ),
      ...[["Taken out", out.size], ["Cannot be shown", gone]].flatMap(([what, count]) =>
        count ? [element("p", { className: "caption quiet", textContent: `${what}: ${count}, ${count === 1 ? "it stays" : "they stay"} undecided.` })] : []),
    );
    const surprising = preview.most_out !== null && out.size > preview.most_out;
    note.hidden = !surprising;
    if (surprising) {
      const rest = kept.length ? ` Better review the ${kept.length === all.length ? "" : "other "}${kept.length} one by one.` : "";
      note.replaceChildren(
        ...rich([[`You took out ${out.size} of ${all.length}; ${preview.expected_out}.`, "strong"]]),
        ` The probabilities are too sure here.${rest}`,
      );
    }
    // The same button leads to what nobody has looked at, one screen after the other, and then stores.
    yes.textContent = left ? `Look at ${left} more ↓` : deed(kept, `${kept.length}`);
    yes.disabled = !kept.length || (!left && !(named || who.value.trim()));
    const before = ready;
    ready = looked.all(paths) ? (ready ?? performance.now()) : null;
    if (led && ready !== before) setTimeout(draw, PAUSE);
    yes.setAttribute("aria-disabled", String(!left && early()));
    review.classList.toggle("primary", surprising || !preview.supported);
    yes.classList.toggle("primary", Boolean(preview.supported) && !surprising);
    undone.textContent = kept.length === 1 ? "Undo takes it back." : kept.length ? `One undo takes back all ${kept.length}.` : "";
  }

  /** `Relabel 5`, `Relabel 4, remove 1`: what is done to how many; `count` is said where one thing is done to all. */
  function deed(kept, count) {
    const kinds = [...new Set(kept.map((choice) => choice.decision))];
    if (!kinds.length) return `${VERBS[decision]} ${count}`;
    const words = kinds.sort((one) => (one === "relabel" ? -1 : 1)).map((kind) => {
      const number = kinds.length === 1 ? count : kept.filter((choice) => choice.decision === kind).length;
      return `${VERBS[kind]} ${number}${kind === "relabel" && preview.to ? ` to ${preview.to}` : ""}`;
    });
    return words.map((each, at) => (at ? each.toLowerCase() : each)).join(", ");
  }

  async function store() {
    const kept = inside();
    const paths = kept.map(({ card }) => card.path);
    if (looked.left(paths).length) {
      led = true;
      return looked.next(paths);
    }
    if (!kept.length || storing || early()) return;
    storing = true;
    const refused = await does.store(kept, who.value.trim());
    storing = false;
    problem.hidden = !refused;
    problem.textContent = refused;
    if (!refused) dialog.close();
  }

  yes.onclick = store;
  // Enter held down from before does not press what it finds here.
  dialog.addEventListener("keydown", (event) => {
    if (event.repeat && (event.key === "Enter" || event.key === " ")) event.preventDefault();
    event.stopPropagation();
  });
  cancel.onclick = () => dialog.close();
  review.onclick = () => {
    dialog.close();
    does.review(all.map(({ card }) => card.path));
  };
  const retry = () => board.retry();
  addEventListener("online", retry);
  dialog.addEventListener("close", () => {
    removeEventListener("online", retry);
    looked.end();
    dialog.remove();
    does.ended();
  });
  root.append(dialog);
  draw();
  dialog.showModal();
  board.focus();
  return dialog;
}

/** Sums of the parts, to one decimal; they add up to the number of pictures as they are printed, so the last gives way. */
export function tenths(parts, count) {
  const sums = [...Array(count).keys()].map((index) => Math.round(10 * parts.reduce((sum, each) => sum + each[index], 0)));
  if (!count) return [];
  const rest = 10 * parts.length - sums.slice(0, -1).reduce((sum, each) => sum + each, 0);
  if (rest < 0) sums[sums.indexOf(Math.max(...sums.slice(0, -1)))] += rest;
  sums[count - 1] = Math.max(0, rest);
  return sums.map((sum) => (sum / 10).toFixed(1));
}
