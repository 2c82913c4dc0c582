// Deciding about many pictures at once: the question, the storing, the way back. Grid and Class pair use the same.

import { get, Offline, post, Refused } from "./api.js";
import { confirm } from "./confirm.js";
import { element } from "./dom.js";
import { uuid } from "./outbox.js";
import { remember } from "./reviewer.js";

export class Together {
  /**
   * @param {{dialogs: HTMLElement, data: () => object, filters: () => object, signal: AbortSignal,
   *   say: (sentence: string, undoable?: boolean) => void, changed: (paths?: string[]) => Promise<void>, review: (paths: string[]) => void,
   *   focus: () => void}} room
   */
  constructor(room) {
    this.room = room;
    this.asking = false;
    this.takingBack = false;
    this.unanswered = false; // a bulk was sent, and no answer came
    this.undoId = ""; // of an undo whose answer has not come: sent again it is the same one
    this.name = ""; // given in a dialog, until the page knows it too
  }

  get reviewer() {
    return this.room.data().reviewer || this.name;
  }

  get audit() {
    return this.room.data().audit;
  }

  /** An answer, or null where there is none; why not is said. */
  async answer(question) {
    try {
      return await question;
    } catch (error) {
      if (this.room.signal.aborted) return null;
      if (!(error instanceof Offline || error instanceof Refused)) throw error;
      this.room.say(error.message);
      return null;
    }
  }

  /** What a decision about these would do: `what` has `paths`, or `above` for all of the list above so many percent. */
  preview(decision, what, label = "") {
    const filters = what.paths ? {} : this.room.filters();
    const body = { audit: this.audit, decision, ...filters, ...what };
    return this.answer(post("preview", label ? { ...body, new_label: label } : body, { signal: this.room.signal }));
  }

  /** Show what would be decided, and store what is left of it once it is confirmed. */
  async ask(decision, what) {
    if (this.room.data().readOnly || this.asking) return;
    this.asking = true;
    try {
      const label = decision === "relabel" ? await this.chooseClass() : "";
      const preview = label === null ? null : await this.preview(decision, what, label);
      if (!preview) return;
      if (!preview.choices.length) return void this.room.say(preview.note || "Nothing to decide here.");
      await this.confirmed(decision, preview);
    } finally {
      this.asking = false;
    }
  }

  confirmed(decision, preview) {
    return new Promise((ended) => {
      const { audit, login } = this.room.data();
      confirm(this.room.dialogs, preview, {
        audit,
        decision,
        named: Boolean(this.reviewer || login),
        store: (choices, name) => this.store(choices, name, decision, preview.batch),
        review: (paths) => this.room.review(paths),
        ended: async () => {
          this.room.focus();
          // Whether it was stored nobody has said: the page shows what is.
          if (this.unanswered) await this.room.changed();
          this.unanswered = false;
          ended();
        },
      });
    });
  }

  /** @returns {Promise<string>} why nothing was stored; empty where it was */
  async store(choices, name, decision, batch) {
    if (name) {
      this.name = name;
      remember(name);
    }
    const { reviewer } = this;
    const decisions = choices.map(({ card, decision, new_label, id }) => ({
      ...{ id, path: card.path, decision, new_label, seen: card.seen },
    }));
    try {
      const answer = await post("bulk", { audit: this.audit, reviewer, batch, decision, decisions });
      this.unanswered = false;
      this.undoId = "";
      this.room.say(answer.sentence, answer.stored > 0);
      await this.room.changed(decisions.map(({ path }) => path));
      return "";
    } catch (error) {
      if (error instanceof Offline) {
        this.unanswered = true;
        return `${error.message} Nothing is lost: try again, what was stored is not stored twice.`;
      }
      if (error instanceof Refused) return error.message;
      throw error;
    }
  }

  /** Take back one's own last decision, or all of it where it was one about many. */
  async undo() {
    if (this.room.data().readOnly || this.takingBack) return;
    this.takingBack = true;
    this.undoId ||= uuid();
    const body = { audit: this.audit, reviewer: this.reviewer, id: this.undoId, path: null, seen: "", others: false };
    const answer = await this.answer(post("undo", body));
    this.takingBack = false;
    if (!answer) return;
    this.undoId = "";
    this.room.say(answer.count ? takenBack(answer) : "There is nothing of yours to take back.");
    await this.room.changed();
  }

  /** @returns {Promise<?string>} a label; null where none was chosen */
  async chooseClass() {
    const answer = await this.answer(get("classes", { audit: this.audit }, { signal: this.room.signal }));
    if (!answer) return null;
    const select = element("select", {}, ...answer.map(({ label, name, group }) =>
      element("option", { value: label, textContent: group ? `${name} (${group})` : name })));
    select.setAttribute("aria-label", "Class");
    const ok = element("button", { type: "button", className: "primary", textContent: "Look at them…" });
    const cancel = element("button", { type: "button", textContent: "Cancel" });
    const title = element("h2", { textContent: "Relabel the selected to which class?" });
    const dialog = element("dialog", { className: "choose" }, title, select, element("footer", {}, cancel, ok));
    this.room.dialogs.append(dialog);
    return new Promise((chosen) => {
      ok.onclick = () => dialog.close(select.value);
      cancel.onclick = () => dialog.close();
      dialog.addEventListener("keydown", (event) => event.stopPropagation());
      dialog.addEventListener("close", () => {
        dialog.remove();
        chosen(dialog.returnValue || null);
      });
      dialog.showModal();
    });
  }
}

/** What an undo took back: of one picture what was said and of which, as it may be out of sight. */
function takenBack({ count, path, undone }) {
  if (count > 1) return `Taken back for ${count.toLocaleString("en")} pictures.`;
  const said = { keep: "label is right", unsure: "unsure", remove: "removed" }[undone?.decision] ?? undone?.name;
  return said ? `Taken back: ${said} (${path.split("/").at(-1)}).` : "Taken back.";
}
