// The keys: a list of them, and each to be changed or switched off. What is set is kept in this browser.

import { element, fill } from "./dom.js";
import { ACTIONS, change, keymap, named, reset, shown } from "./keys.js";

/** All keys, to read. `?` or Escape closes it. */
export function help(dialogs, openSettings) {
  const map = keymap();
  const digits = [element("kbd", { textContent: "1" }), "–", element("kbd", { textContent: "5" })];
  const rows = [["Decide for that class; the given label’s digit: the label is right", digits]];
  for (const [action, [words]] of Object.entries(ACTIONS)) {
    if (map[action].length) rows.push([words, map[action].flatMap((key) => [element("kbd", { textContent: shown(key) }), " "])]);
  }
  const table = element("table", { className: "keys" }, element("tbody", {}, ...rows.map(([words, keys]) =>
    element("tr", {}, element("td", {}, ...keys), element("td", { textContent: words })))));
  const button = element("button", { type: "button", textContent: "Settings: change keys", className: "small", onclick: openSettings });
  const dialog = dialogs.show("Keys", [table, button], { kind: "wide" });
  dialog.addEventListener("keydown", (event) => {
    if (!map.help.includes(named(event))) return;
    event.preventDefault();
    dialog.end();
  });
}

/**
 * Each key to be changed or switched off; `changed` hears of it. `load` takes the text of a file of decisions and returns
 * what to say of it.
 */
export function settings(dialogs, changed, load) {
  const body = element("tbody", {});
  const hint = element("p", { className: "quiet caption", role: "status", textContent: "Kept in this browser." });
  let waiting = null;

  const set = (action, key) => {
    change(action, key);
    waiting = null;
    draw();
    changed();
  };
  const draw = () => {
    const map = keymap();
    fill(body, ...Object.entries(ACTIONS).map(([action, [words]]) => {
      const keys = map[action].map(shown).join(", ");
      const now = waiting === action ? "press a key" : keys || "off";
      const button = (text, does) => element("button", { type: "button", className: "small", textContent: text, onclick: does, "aria-label": `${text}: ${words}` });
      return element("tr", {},
        element("td", { textContent: words }),
        element("td", { className: waiting === action ? "amber" : "", textContent: now }),
        element("td", {}, button("Change", () => { waiting = action; draw(); dialog.focus(); }), " ", button("Off", () => set(action, null))));
    }));
  };
  const again = element("button", { type: "button", className: "small", textContent: "All as they were", onclick: () => { reset(); draw(); changed(); } });
  const file = element("input", { type: "file", accept: ".json,application/json" });
  file.onchange = async () => {
    if (file.files.length) hint.textContent = load(await file.files[0].text());
  };
  const saved = element("label", { className: "caption row" }, "Send decisions that were saved as a file: ", file);
  const dialog = dialogs.show("Settings", [element("table", { className: "keys" }, body), hint, again, saved], { kind: "wide" });
  dialog.tabIndex = -1;
  dialog.addEventListener("keydown", (event) => {
    if (!waiting || ["Shift", "Control", "Alt", "Meta", "AltGraph", "Tab"].includes(event.key)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.key === "Escape" || event.key === "Enter") {
      waiting = null;
      draw();
    } else if (/^[1-5]$/.test(event.key)) {
      hint.textContent = "1 to 5 decide for a class; choose another key.";
    } else set(waiting, named(event));
  }, { capture: true });
  draw();
}
