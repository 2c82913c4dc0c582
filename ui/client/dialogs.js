// Small dialogs over Review: a question, a note, tags, the reviewer's name. While one is open no key decides anything;
// Enter and Escape close it, and the focus goes back to the picture.

import { element, fill } from "./dom.js";
import { segments } from "./names.js";

export class Dialogs {
  /**
   * @param {Element} slot
   * @param {() => void} left a dialog was closed: the focus goes back to the picture
   */
  constructor(slot, left) {
    Object.assign(this, { slot, left });
  }

  get open() {
    return Boolean(this.slot.querySelector("dialog[open]"));
  }

  /**
   * @param {string} title
   * @param {Node[]} content
   * @param {object} [options]
   * @param {() => void} [options.closed] it is gone, whatever for
   * @param {string} [options.kind] a class of its own
   * @returns {HTMLDialogElement} with `end()`, which closes it
   */
  show(title, content, { closed = () => {}, kind = "" } = {}) {
    for (const other of this.slot.querySelectorAll("dialog")) other.end();
    const dialog = element("dialog", { className: kind, "aria-label": title });
    const leave = element("button", { type: "button", className: "plain small dialog-close", textContent: "✕", "aria-label": "Close", onclick: () => dialog.end() });
    dialog.append(element("div", { className: "dialog-head" }, element("h2", { textContent: title }), leave), ...content);
    // With braces: a handler that returns false takes the click away from whatever was clicked.
    dialog.onclick = (event) => {
      if (event.target === dialog && outside(dialog, event)) dialog.end();
    };
    dialog.onkeydown = (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      // It ends this dialog and nothing behind it.
      event.stopPropagation();
      dialog.end();
    };
    // All at once: the browser tells of the end a moment later, and the next key would go to a field that is gone.
    dialog.end = () => {
      if (!dialog.isConnected) return;
      dialog.close();
      dialog.remove();
      closed();
      if (!this.open) this.left();
    };
    dialog.onclose = dialog.end;
    this.slot.append(dialog);
    dialog.showModal();
    (dialog.querySelector("[autofocus]") ?? dialog.querySelector("input, textarea, button:not(.dialog-close)"))?.focus();
    return dialog;
  }

  /**
   * A question; resolves to the name of the button pressed, null where it was closed otherwise.
   * @param {string} title
   * @param {string[][][]} paragraphs of [[text, role], …]
   * @param {Array<[string, string]>} buttons [name, text]; none of them is pressed by Enter alone
   */
  ask(title, paragraphs, buttons) {
    return new Promise((resolve) => {
      let answer = null;
      const row = element("div", { className: "dialog-buttons" }, ...buttons.map(([name, text]) =>
        element("button", { type: "button", textContent: text, onclick: () => { answer = name; dialog.end(); } })));
      const words = paragraphs.map((parts) => element("p", {}, ...segments(parts)));
      const dialog = this.show(title, [...words, row], { closed: () => resolve(answer) });
      dialog.tabIndex = -1;
      dialog.focus();
    });
  }

  /** One line of text; resolves to it, null where nothing was entered. */
  line(title, { value = "", label, longest, below = "" }) {
    return new Promise((resolve) => {
      let answer = null;
      const field = element("input", { type: "text", value, maxLength: longest, "aria-label": label, placeholder: label, dir: "auto" });
      const form = element("form", { method: "dialog" }, field, element("button", { type: "submit", textContent: "Done" }));
      form.onsubmit = (event) => {
        event.preventDefault();
        answer = field.value;
        dialog.end();
      };
      const words = below ? [element("p", { className: "quiet caption", textContent: below })] : [];
      const dialog = this.show(title, [form, ...words], { closed: () => resolve(answer) });
      field.select();
    });
  }

  /**
   * Tags of one picture: those it has, those that exist, a new one.
   * @param {object} options
   * @param {string[]} options.own
   * @param {Promise<Array<{tag: string, count: number}>>} options.all
   * @param {(tag: string, on: boolean) => Promise<boolean>} options.change whether it was stored
   */
  tags({ own, all, change }) {
    const has = new Set(own);
    let known = [];
    const list = element("ul", { className: "dialog-tags" });
    const draw = () => {
      const counts = new Map(known.map(({ tag, count }) => [tag, count]));
      for (const tag of has) if (!counts.has(tag)) counts.set(tag, 0);
      fill(list, ...[...counts].map(([tag, count]) => {
        const box = element("input", { type: "checkbox", checked: has.has(tag) });
        box.onchange = () => toggle(tag, box.checked);
        return element("li", {}, element("label", {}, box, element("bdi", { dir: "auto", textContent: tag }),
          element("span", { className: "quiet caption", textContent: count ? ` ${count}` : "" })));
      }));
    };
    const toggle = async (tag, on) => {
      if (on) has.add(tag);
      else has.delete(tag);
      if (await change(tag, on)) return;
      if (on) has.delete(tag);
      else has.add(tag);
      draw();
    };
    const field = element("input", { type: "text", maxLength: 100, placeholder: "A tag, such as “blurry”", "aria-label": "A new tag", dir: "auto", autofocus: true });
    const form = element("form", {}, field, element("button", { type: "submit", textContent: "Add" }));
    let dialog = null;
    form.onsubmit = (event) => {
      event.preventDefault();
      const tag = field.value.trim();
      if (tag) toggle(tag, true);
      dialog.end();
    };
    draw();
    all.then((tags) => {
      known = tags;
      draw();
    });
    dialog = this.show("Tags of this picture", [form, list]);
  }
}

/** Whether a click was on what lies behind the dialog. */
function outside(dialog, { clientX, clientY }) {
  const box = dialog.getBoundingClientRect();
  return clientX < box.left || clientX > box.right || clientY < box.top || clientY > box.bottom;
}
