// What Review asks a person: another class, a note, tags, a name, its keys. Each ends where it began: at the suspect that
// was on the screen when it was asked, or nowhere.

import * as api from "./api.js";
import { element } from "./dom.js";
import { printed } from "./keys.js";
import { remember } from "./reviewer.js";
import { search as searched } from "./search.js";
import { help as helped, settings as set } from "./settings.js";

export class Asking {
  /** @param {import("./actions.js").Actions} actions */
  constructor(actions) {
    this.actions = actions;
  }

  get review() {
    return this.actions.review;
  }

  /** All classes of the dataset, asked for once; empty where they do not come. */
  async classes() {
    this.known ??= api.get("classes", { audit: this.review.audit });
    try {
      return await this.known;
    } catch {
      this.known = null;
      return [];
    }
  }

  async search(event) {
    const { review, actions } = this;
    const { item } = actions;
    if (!actions.counts(event, "relabel")) return;
    // The field is there at once: what is typed after the key must never reach the page.
    const chosen = await searched(review.dialogs, { classes: this.classes(), given: item.suspect.given, removeKey: printed().X });
    if (!chosen || item !== actions.item || !(await this.named())) return;
    if (chosen === "none") actions.store(item, { decision: "remove" }, null);
    else if (chosen.label === item.suspect.given.label) actions.store(item, { decision: "keep" }, null);
    else actions.store(item, { decision: "relabel", new_label: chosen.label, name: chosen.name }, null);
  }

  async note(event) {
    const { review, actions } = this;
    const { item } = actions;
    if (!actions.counts(event)) return;
    const { decision } = item.suspect;
    const value = actions.notes.get(item.path) ?? decision?.note ?? "";
    const text = await review.dialogs.line("Note", { value, label: "Note", longest: 2000, below: "Stored with the decision." });
    if (text === null || item !== actions.item) return;
    actions.notes.set(item.path, text);
    if (decision?.mine && text !== decision.note && (await this.named())) actions.store(item, decision, null, { stay: true });
    else review.render();
  }

  async tag(event) {
    const { review, actions } = this;
    const { item } = actions;
    if (!actions.counts(event)) return;
    if (!review.reviewer && !(await this.named())) return;
    const { audit, reviewer } = review;
    const all = api.get("tags", { audit }).catch(() => []);
    const change = async (tag, on) => {
      const body = { audit, reviewer, path: item.path, add: on ? [tag] : [], remove: on ? [] : [tag] };
      try {
        await api.post("tags", body);
      } catch (error) {
        review.say(`The tag was not stored: ${error.message}`);
        return false;
      }
      const own = (item.suspect.tags ?? []).filter((each) => each !== tag);
      item.suspect = { ...item.suspect, tags: on ? [...own, tag] : own };
      review.render();
      return true;
    };
    review.dialogs.tags({ own: item.suspect.tags ?? [], all, change });
  }

  /** Whether somebody has a name here; asks for it where nobody has. */
  async named() {
    const { review } = this;
    if (review.reviewer) return true;
    if (review.data.login) return this.actions.refuse("Log in to decide.");
    const name = await review.dialogs.line("Who is reviewing?", { label: "Your name", longest: 100, below: "Stored with every decision, and kept in this browser." });
    review.reviewer = (name ?? "").trim();
    if (!review.reviewer) return false;
    remember(review.reviewer);
    return true;
  }

  /** The picture that a box lies in, with the box drawn. */
  around() {
    const { review } = this;
    const { item } = this.actions;
    if (!item?.suspect?.annotation) return review.say("This picture is no box of another one.");
    const src = review.picture("around", item.path, item.suspect.content_hash);
    const image = element("img", { className: "around", src, alt: `The whole picture, with box ${item.suspect.annotation} drawn` });
    review.dialogs.show("The picture around the box", [image], { kind: "wide" });
  }

  help() {
    helped(this.review.dialogs, () => this.settings());
  }

  settings() {
    const { review } = this;
    const changed = () => {
      review.keys.changed();
      review.last.draw();
      review.render();
    };
    set(review.dialogs, changed, (text) => {
      try {
        return `Sending ${review.outbox.takeFile(text, review.audit)} decisions; what is stored already stays as it is.`;
      } catch (error) {
        return error.message;
      }
    });
  }

  /** All that the database does not have, as a file. */
  save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.review.outbox.asFile()], { type: "application/json" }));
    link.download = "gradattn-decisions.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
}
