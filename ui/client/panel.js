// What is said instead of a suspect or above one: the end of a list, no connection, somebody who was faster.

import { element, fill } from "./dom.js";
import { rich } from "./names.js";

/**
 * @param {{act: (name: string, event: Event) => void, picture: (kind: string, small: object) => string}} handlers
 * @param {string} kind its class
 * @param {"h1"|"h2"} heading the whole page's, or one beside a suspect's
 */
export function createPanel(handlers, kind, heading) {
  const root = element("section", { className: `panel ${kind}`, hidden: true });
  return {
    element: root,
    /**
     * @param {{title: string|[string, string][], paragraphs: [string, string][][], progress: number,
     *   figure: {src: string, alt: string},
     *   buttons: {name: string, text: string, key: string, primary: boolean, note: string}[], picture: object|null}|null} shown
     */
    show(shown, keys = {}) {
      root.hidden = shown === null;
      if (!shown) return fill(root);
      const title = typeof shown.title === "string" ? [[shown.title, ""]] : shown.title;
      const image = shown.picture ? element("img", { alt: "", src: handlers.picture("small", shown.picture) }) : null;
      const words = (shown.paragraphs ?? []).map((parts) => element("p", {}, ...rich(typeof parts === "string" ? [[parts, ""]] : parts)));
      const buttons = (shown.buttons ?? []).map((one) =>
        element(
          "button",
          { type: "button", className: one.primary ? "primary" : "", onclick: (event) => handlers.act(one.name, event) },
          element("span", { textContent: one.text }),
          one.note ? element("span", { className: "note", textContent: one.note }) : null,
          keys[one.key] ? element("kbd", { textContent: keys[one.key], "aria-hidden": "true" }) : null,
        ),
      );
      const meter = shown.progress === undefined ? null : bar(shown.progress);
      const figure = shown.figure ? element("img", { className: "figure", ...shown.figure }) : null;
      const text = element("div", { className: "panel-text" }, element(heading, {}, ...rich(title)), ...words, meter, figure);
      fill(root, image, text, element("div", { className: "panel-buttons" }, ...buttons));
    },
  };
}

function bar(share) {
  return element("div", { className: "meter", "aria-hidden": "true" }, element("div", { style: { width: `${100 * share}%` } }));
}

/** Where in the list one is, how far it is done, and whether what was decided has been stored. */
export function createHead(handlers) {
  const at = element("span", { className: "at" });
  const done = element("div", { style: { width: "0" } });
  const meter = element("div", { className: "meter", role: "progressbar", "aria-label": "Decided", "aria-valuemin": "0" }, done);
  const text = element("span", { className: "rate" });
  const saved = element("span", { className: "saved" });
  const mark = element("span", { className: "saved-mark", "aria-hidden": "true" });
  const kept = element("button", { className: "bare saved-state", type: "button", onclick: (event) => handlers.act("saved", event) }, mark, saved);
  const helps = element("kbd", { textContent: "?" });
  const help = element("button", { className: "bare help", type: "button", "aria-label": "All keys", onclick: (event) => handlers.act("help", event) }, helps);
  const root = element("div", { className: "head" }, at, meter, text, kept, help);
  const marks = { saved: "✓", sending: "◔", unsent: "◐", choice: "!" };
  return {
    element: root,
    /** The key that lists all keys; without one the button is there all the same. */
    key: (printed) => (helps.textContent = printed || "?"),
    /** @param {{list: string, at: number|null, total: number, decided: number, text: string, saved: {state: string, count: number, text: string}}} now */
    show(now) {
      const place = now.at ? [element("span", { className: "list", textContent: `${now.list} ` }), element("strong", { textContent: now.at.toLocaleString("en") }), ` of ${now.total.toLocaleString("en")}`] : [now.list];
      fill(at, ...place);
      meter.hidden = !now.total;
      done.style.width = `${now.total ? (100 * now.decided) / now.total : 0}%`;
      meter.setAttribute("aria-valuenow", String(now.decided));
      meter.setAttribute("aria-valuemax", String(now.total));
      text.textContent = now.text ?? "";
      const state = now.saved?.state ?? "saved";
      kept.className = `bare saved-state ${state}`;
      mark.textContent = marks[state] ?? "";
      saved.textContent = now.saved?.text ?? "";
      kept.hidden = !saved.textContent;
    },
  };
}
