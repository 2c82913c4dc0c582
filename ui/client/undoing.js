// Undo, from the log: what the screen shows if I decided it, else my last decision; another's is asked about first.

import { words } from "./last.js";
import { uuid } from "./outbox.js";

/** Said where a press comes before the suspect that it would be about is seen. */
export const EARLY = "The next picture is on its way. Keys count from when you see it.";

/** What a log entry is about: copies of one picture under one label share it. */
export const keyOf = ({ content_hash, given }) => `${content_hash}\n${given.label}`;

export class Undoing {
  /** @param {import("./actions.js").Actions} actions */
  constructor(actions) {
    this.actions = actions;
  }

  get review() {
    return this.actions.review;
  }

  /** Take back what the screen shows if I decided it, else my last decision. */
  async undo(event) {
    const { review, actions } = this;
    const { item } = actions;
    if (review.data.readOnly) return this.actions.refuse("Read-only: decisions are switched off.");
    if (item && review.seen !== item) return this.actions.refuse(EARLY);
    if (event?.type === "click" && event.detail > 1) return this.actions.refuse("A second click so soon does not count.");
    if (!(await this.actions.asking.named())) return false;
    const shown = item?.suspect?.decision;
    if (shown && !shown.mine) {
      const who = shown.reviewer || "Somebody";
      const sure = await review.dialogs.ask(`${who} decided this. Take back their decision?`,
        [words({ ...shown, given: item.suspect.given.name })],
        [["theirs", "Take theirs back"], ...(review.last.newest ? [["mine", `Take mine back: ${review.last.newest.short}`]] : []), ["no", "Leave it"]]);
      if (sure === "theirs") return this.takeBack(item.path, true);
      if (sure !== "mine") return false;
      return this.takeBack(review.last.newest.path, false);
    }
    if (shown) return this.takeBack(item.path, false);
    return this.takeBack(review.last.newest?.path ?? null, false);
  }

  async takeBack(path, others) {
    const { review, actions } = this;
    const held = path && review.queue.items.find((each) => each.path === path);
    const suspect = held?.suspect ?? null;
    const entry = {
      id: uuid(), kind: "undo", audit: review.audit, reviewer: review.reviewer, outbox: review.tab, at: Date.now(), path, others,
      seen: suspect ? actions.newest(suspect) : this.lastSeen(path), counted: Boolean(suspect), given: suspect?.given.name ?? "", content_hash: suspect?.content_hash ?? "",
    };
    if (!review.outbox.add(entry)) return review.render();
    if (path) actions.speak(path);
    if (suspect) {
      actions.seen.set(keyOf(suspect), entry.id);
      if (suspect.decision) actions.balance--;
      suspect.decision = held.before?.pop() ?? null;
      if (suspect.decision) actions.balance++;
      held.said = Boolean(suspect.decision?.mine);
    }
    if (path) {
      review.last.remove(path);
      actions.telling = "Taken back";
      await actions.open(path);
      review.render();
      actions.announce(entry.id);
    }
    // Without a path the answer says whose decision it was; it is shown then.
    return true;
  }

  /** The copies that were decided with it are taken back with it. */
  others({ paths = [], path }) {
    for (const item of this.review.queue.items.filter((each) => each.path !== path && paths.includes(each.path))) {
      Object.assign(item, { stale: true, said: false });
      if (!item.suspect) continue;
      item.suspect.decision = item.before?.pop() ?? null;
    }
  }

  lastSeen(path) {
    return this.review.last.newest?.path === path ? this.review.last.newest.id ?? "" : "";
  }

  /** The server has answered for an undo; `item` holds what it was about. */
  landed(entry, answer, item) {
    const { review, actions } = this;
    const none = answer.status === "none";
    if (none) review.say("There is nothing of yours to take back.");
    // What stands is the server's word, whatever was taken for granted here.
    if (none && entry.path) actions.settle(entry.path, answer.stands);
    // "known" is the answer to one that was sent twice, as its first answer was lost.
    if (answer.status !== "undone" && answer.status !== "known") return;
    this.others(answer);
    if (!entry.counted) {
      const count = answer.count || 1;
      actions.balance -= count;
      // Decided before this list was begun, and before us again.
      if (review.base) review.base.first = Math.max(0, review.base.first - count);
    }
    if (entry.path) return;
    // Whose decision it was is known only now.
    if (item?.suspect) item.suspect.decision = answer.stands ?? null;
    review.last.remove(answer.path);
    actions.open(answer.path);
  }
}
