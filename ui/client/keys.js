// Which key does what. Keys are kept in this browser, each can be changed or switched off, and none of them is ours
// where letters are typed, where a button has the focus that the key would press, or with a modifier.

import { recall, remember } from "./kept.js";

/** Every action with its words and the keys it has at first; the first of them is the one that is drawn. */
export const ACTIONS = {
  relabel: ["Relabel to the class proposed", "a", "j"],
  keep: ["The label is right", "k", "f"],
  unsure: ["Unsure", "u"],
  remove: ["Remove the picture", "x"],
  other: ["Another class: search", "/"],
  copies: ["For all exact copies, or this one only", "d"],
  note: ["Note", "n"],
  tag: ["Tag", "t"],
  skip: ["Skip, decide later", "ArrowRight", "s"],
  back: ["Back to the one before", "ArrowLeft", "b"],
  undo: ["Undo: this picture's decision, else your last one", "z"],
  map: ["Map, while it is held", " "],
  lock: ["Map, locked", "m"],
  outlines: ["Outlines on or off", "v"],
  flicker: ["Flicker with the picture compared, while it is held", "c"],
  larger: ["Larger", "+", "="],
  smaller: ["Smaller", "-"],
  whole: ["The whole picture", "0"],
  original: ["The original", "o"],
  around: ["The picture around a box", "w"],
  grid: ["Grid", "g"],
  help: ["All keys", "?"],
};

/** What a key does only while it is down. */
export const HELD = ["map", "flicker"];
const DECIDING = ["relabel", "keep", "unsure", "remove"];
const PLACE = "gradattn/keys";
const NAMES = { " ": "Space", ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓", "-": "−" };
/** What view.js calls them. */
const DRAWN = { relabel: "A", keep: "K", unsure: "U", remove: "X" };

/** A key as it is drawn. */
export function shown(key) {
  return NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}

/** The keys in force: action to its keys, none where it is switched off. */
export function keymap() {
  const own = read();
  return Object.fromEntries(Object.keys(ACTIONS).map((action) => {
    const keys = own[action];
    return [action, Array.isArray(keys) ? keys.filter((key) => typeof key === "string") : ACTIONS[action].slice(1)];
  }));
}

/** Give an action this one key, or none; whoever had the key loses it. */
export function change(action, key) {
  const map = keymap();
  if (key !== null) for (const name of Object.keys(map)) map[name] = map[name].filter((each) => each !== key);
  map[action] = key === null ? [] : [key];
  remember("localStorage", PLACE, map);
}

/** The keys as they were at first. */
export function reset() {
  remember("localStorage", PLACE, null);
}

/** What is printed on the buttons, by the names of view.js. */
export function printed() {
  const map = keymap();
  return Object.fromEntries(Object.entries(map).filter(([, keys]) => keys.length)
    .map(([action, [key]]) => [DRAWN[action] ?? action, shown(key)]));
}

/** A key event as it is written in the map: letters small, and Latin ones on any keyboard. */
export function named(event) {
  const { key, code } = event;
  if (key.length > 1) return key;
  const small = key.toLowerCase();
  // On a Cyrillic, Greek or Hebrew keyboard the key at this place; its letter is no key of ours.
  if (/^Key[A-Z]$/.test(code) && !/[\x20-\x7e]/.test(small)) return code.at(-1).toLowerCase();
  return small;
}

/** The digit 1 to 5 of a key, also on keyboards whose digits need Shift; 0 for none. */
export function digit(event) {
  if (/^[1-5]$/.test(event.key)) return Number(event.key);
  const found = /^(?:Digit|Numpad)([1-5])$/.exec(event.code);
  return found && !event.shiftKey && event.key.length === 1 && !/[+\-/?=]/.test(event.key) ? Number(found[1]) : 0;
}

export class Keys {
  /**
   * @param {object} options
   * @param {(action: string, event: KeyboardEvent) => void} options.act an action, or "1" to "5"
   * @param {(action: string, on: boolean) => void} options.hold of HELD
   * @param {() => boolean} options.shut whether no key counts, as a dialog is open
   * @param {() => void} options.leave a field was left by Enter or Escape
   * @param {AbortSignal} options.signal
   */
  constructor({ act, hold, shut, leave, signal }) {
    Object.assign(this, { act, hold, shut, leave });
    this.down = new Map();
    this.map = keymap();
    const options = { capture: true, signal };
    window.addEventListener("keydown", (event) => this.pressed(event), options);
    window.addEventListener("keyup", (event) => this.released(event), options);
    // Where the window loses the focus, no keyup ever comes.
    window.addEventListener("blur", () => this.release(), { signal });
    document.addEventListener("visibilitychange", () => this.release(), { signal });
  }

  changed() {
    this.map = keymap();
  }

  pressed(event) {
    const target = event.composedPath()[0];
    if (event.isComposing) return;
    if (isField(target)) {
      // Our own dialogs see to themselves; any other field of the page gives the focus back.
      const left = event.key === "Escape" || (event.key === "Enter" && target.localName !== "textarea");
      if (left && !target.closest?.("dialog, [role=dialog], [data-keep]")) setTimeout(() => this.leave(target));
      return;
    }
    if (this.shut() || document.querySelector("[role=dialog], [role=alertdialog]")) return;
    if (event.metaKey || ((event.ctrlKey || event.altKey) && !event.getModifierState("AltGraph"))) return;
    const action = this.action(event);
    if (!action || taken(target, event)) return;
    // Streamlit has keys of its own, and a held arrow or Space would scroll the page.
    event.preventDefault();
    event.stopImmediatePropagation();
    if (HELD.includes(action)) {
      if (!event.repeat && !this.down.has(action)) {
        this.down.set(action, event.code);
        this.hold(action, true);
      }
    } else if (!event.repeat || !(DECIDING.includes(action) || action === "undo" || /^[1-5]$/.test(action))) {
      this.act(action, event);
    }
  }

  released(event) {
    for (const [action, code] of this.down) if (code === event.code) this.end(action);
  }

  release() {
    for (const action of [...this.down.keys()]) this.end(action);
  }

  end(action) {
    this.down.delete(action);
    this.hold(action, false);
  }

  action(event) {
    const key = named(event);
    const found = Object.keys(this.map).find((action) => this.map[action].includes(key));
    // With Shift a letter is no key of ours, but a sign may need it.
    if (found && event.shiftKey && /^[a-z]$/.test(key)) return null;
    if (found) return found;
    const number = digit(event);
    return number ? String(number) : null;
  }
}

/** Whether letters are typed there. */
export function isField(target) {
  if (target?.isContentEditable) return true;
  if (target?.localName === "input") return !["checkbox", "radio", "range", "button", "submit"].includes(target.type);
  return ["textarea", "select"].includes(target?.localName);
}

/** Whether the element with the focus has a use for this key: a button for Space, a slider for arrows. */
function taken(target, event) {
  const control = target?.closest?.("button, a[href], summary, input, [role=button], [role=slider], [role=tab]");
  if (!control) return false;
  if (event.key === " " || event.key === "Enter") return true;
  const slider = control.matches("input[type=range], input[type=radio], [role=slider], [role=tab]");
  return slider && /^(Arrow|Home|End|Page)/.test(event.key);
}

function read() {
  const found = recall("localStorage", PLACE);
  return found && typeof found === "object" ? found : {};
}
