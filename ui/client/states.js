// What stands where there is no suspect, or beside one: ends of lists, no connection, a newer decision, and whether all
// is saved. Plain functions from Review as it is to what view.js draws.

import { figure } from "./api.js";
import { words } from "./last.js";

export const SENDING_AFTER = 400;
export const UNSENT_AFTER = 3000;

/** The list of an address, without the suspect. */
export const listing = ({ path, ...list }) => list;
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const said = (text) => [[text, ""]];

/** Top right: whether the database has everything. */
export function saved({ unsent, since, choices, full, offline }, decided) {
  const waited = unsent ? Date.now() - since : 0;
  const late = unsent && (offline || waited >= UNSENT_AFTER);
  if (choices.length) {
    const asks = `${choices.length} ${choices.length === 1 ? "needs" : "need"} your choice`;
    return { state: "choice", count: choices.length, text: late ? `${asks} · ${unsent} not sent` : asks };
  }
  if (full) return { state: "unsent", count: unsent, text: `${plural(unsent, "decision")} not kept: save them as a file` };
  if (late) return { state: "unsent", count: unsent, text: `${unsent} not sent yet, kept in this browser` };
  if (unsent && waited >= SENDING_AFTER) return { state: "sending", count: unsent, text: `Sending ${unsent}` };
  // Not "all" while one is on its way, be it for milliseconds.
  const now = Math.max(0, decided - unsent).toLocaleString("en");
  return { state: "saved", count: decided - unsent, text: unsent ? `${now} saved` : decided ? `All ${now} saved` : "All saved" };
}

/** Above the decisions: what a person has to know or choose; null for nothing. */
export function noticed(review) {
  const { status } = review.outbox;
  const [choice] = status.choices;
  if (review.outbox.full) {
    return {
      title: "This browser cannot keep more", paragraphs: [said("Save the decisions as a file.")],
      buttons: [{ name: "save-file", text: `Save the ${status.unsent} as a file` }, { name: "try", text: "Try now" }],
    };
  }
  if (choice) return asked(review, choice);
  if (!status.offline || !status.unsent || Date.now() - status.since < UNSENT_AFTER) return null;
  const { ready } = review.queue;
  return {
    title: "No connection",
    paragraphs: [
      [[plural(status.unsent, "decision is", "decisions are"), "strong"], [" kept in this browser and will be sent when the server answers.", ""]],
      said(ready ? `You can go on: ${plural(ready, "more picture is", "more pictures are")} here already.` : "No more pictures are here."),
      said(`It is tried again every ${status.seconds} s. Do not clear this browser’s data.`),
    ],
    buttons: [{ name: "try", text: "Try now" }, { name: "save-file", text: `Save the ${status.unsent} as a file` }],
  };
}

/** Somebody decided in between, or the server does not take it: a person chooses. */
function asked(review, entry) {
  const { status, newest, reason } = entry.answer;
  const picture = { path: entry.path, content_hash: entry.content_hash };
  const mine = entry.kind === "undo" ? [["undo", "strong"]] : words({ ...entry, name: entry.name });
  if (status === "refused" || !newest) {
    return {
      title: "Nothing was stored", picture, paragraphs: [mine, said(reason || "The server did not take it.")],
      buttons: [{ name: "theirs", text: "Leave it" }, { name: "mine", text: "Try again" }],
    };
  }
  const theirs = words({ ...newest, given: entry.given });
  const text = (each, what) => (each.decision === "relabel" ? each.name : { keep: "label is right", unsure: "unsure", remove: "remove", undo: "undo" }[each.decision] ?? what);
  const [title, who, whose] = newest.mine
    ? ["You have decided this elsewhere", ["You, elsewhere", ""], "Other"]
    : ["Somebody was faster", [newest.reviewer || "Somebody", "name"], "Theirs"];
  return {
    title, picture,
    paragraphs: [
      [who, [`${newest.at ? `, ${ago(newest.at)}` : ""}: `, ""], ...theirs],
      [["You, now: ", ""], ...mine], said("The first is in the log; the second is added to it if you choose it. Which one stands?"),
    ],
    buttons: [
      { name: "theirs", text: `${whose}: ${text(newest, "")}` }, { name: "mine", text: `${newest.mine ? "This" : "Mine"}: ${text(entry, "undo")}` },
      { name: "neither", text: "Unsure" },
    ],
  };
}

function ago(at) {
  const minutes = Math.round((Date.now() - new Date(at).getTime()) / 60000);
  if (!(minutes >= 1)) return "just now";
  return minutes < 60 ? `${plural(minutes, "minute")} ago` : minutes < 1440 ? `${plural(Math.round(minutes / 60), "hour")} ago` : `${plural(Math.round(minutes / 1440), "day")} ago`;
}

/** Instead of a suspect while the server does not answer; null while it does. */
export function used(review) {
  const { problem } = review.queue;
  if (!problem) return null;
  const count = review.outbox.status.unsent;
  if (problem.status) {
    return { title: "This list cannot be shown", paragraphs: [said(problem.message)], buttons: [{ name: "clear", text: "Clear filter" }, { name: "try", text: "Try now" }] };
  }
  const safe = count ? ` Your ${plural(count, "decision is", "decisions are")} safe.` : "";
  const buttons = [{ name: "try", text: "Try now" }];
  if (count) buttons.push({ name: "save-file", text: `Save the ${count} as a file` });
  if (review.queue.at > 0) buttons.push({ name: "back", text: "Back", key: "back" });
  return { title: "No connection", paragraphs: [said(`No more pictures here.${safe}`)], buttons };
}

/** At the end of a list. */
export function ended(review) {
  const { queue, standing, params } = review;
  const back = queue.items.length ? [{ name: "back", text: "Back", key: "back" }] : [];
  if (review.blind && standing?.panel) {
    const { plot, alt, ...panel } = standing.panel;
    const drawn = { audit: review.audit, left: params.left, list: params.list, theme: review.data.theme };
    return { ...panel, buttons: [...panel.buttons, ...back], ...(plot && { figure: { src: figure("plot", drawn), alt } }) };
  }
  // As the server counts them: skipped here, taken back, or never stored.
  const { total, left, outside } = review.totals;
  if (left && review.undecided) {
    return {
      title: "The end of this list", paragraphs: [said(`${plural(left, "picture is", "pictures are")} still undecided.`)],
      buttons: [{ name: "again", text: `Review the ${left.toLocaleString("en")} left`, primary: true }, ...back],
    };
  }
  if (review.filtered) {
    return {
      title: "Nothing matches", paragraphs: [said(`${plural(outside, "undecided is", "undecided are")} outside this filter.`)],
      buttons: [{ name: "clear", text: "Clear filter", primary: true }, ...back],
    };
  }
  if (!total) {
    return {
      title: "No suspects",
      paragraphs: [said(standing?.clean || "That is no proof that every label is right: only a random check can tell.")],
      buttons: [{ name: "check", text: "Start the random check", primary: true }],
    };
  }
  const unsure = review.counts?.unsure ?? 0;
  return {
    title: `All ${plural(total, "suspect is", "suspects are")} decided`,
    paragraphs: [said("Next: the random check."), ...(unsure ? [said(`${unsure} unsure ${unsure === 1 ? "is" : "are"} left.`)] : [])],
    buttons: [
      { name: "check", text: "To the random check", primary: true },
      ...(unsure ? [{ name: "unsure-left", text: "Review the unsure" }] : []), ...back,
    ],
  };
}
