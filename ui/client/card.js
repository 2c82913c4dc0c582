// What is thought of a suspect, and what can be decided: verdict, reason, classes, decisions, then the proof below them.

import { element, fill } from "./dom.js";
import { createMeasureRow } from "./measuring.js";
import { beside, cut, rich, shortened } from "./names.js";
import { createStrips } from "./strips.js";
import { waterfall } from "./waterfall.js";

const DECISIONS = ["A", "K", "U", "X"];
const CHART = 478; // pixels of the sum, at most
const LEAST = 200;
const BESIDE = 258; // of the parts beside it
const BROAD = 1280; // pixels of the window from which they stand there, as in review.css
const ROWS = 2; // classes with a row of their own; the others share the third
const LONGEST = { button: 26, third: 20, row: 24, given: 20, shared: 18 }; // letters of a name, for the room that it has
const FONTS = [
  ["", "600 28px"],
  ["longer", "600 22px"],
];
const TEXTS = { A: "Relabel…", K: "Label is right", U: "Unsure", X: "Remove" };

/**
 * @param {{act: (name: string, event: Event) => void, picture: Function, open: Function, more: Function}} handlers
 * @returns the parts of the card, to be laid out by view.js, and `show`
 */
export function createCard(handlers) {
  const title = element("h1");
  const lead = element("p", { className: "lead" });
  const classes = element("ol", { className: "classes", "aria-label": "The likeliest classes" });
  const say = element("div", { className: "say" }, title, lead, classes);
  // A decision that does not count now is told of all the same: whoever acts says why it does not.
  const press = (name) => (event) => {
    const shut = event.currentTarget.getAttribute("aria-disabled") === "true";
    if (!shut || !(name in others)) handlers.act(name, event);
  };
  const button = (name, text, kind) => {
    const label = element("span", { className: "text", textContent: text });
    const key = element("kbd", { "aria-hidden": "true" });
    return Object.assign(element("button", { type: "button", className: kind, onclick: press(name), dataset: { act: name } }, label, key), { label, key });
  };
  const decisions = Object.fromEntries(DECISIONS.map((name) => [name, button(name, TEXTS[name], "decision")]));
  const third = button("", "", "decision third");
  third.onclick = (event) => press(third.dataset.act)(event);
  const others = {
    other: button("other", "Another class…", "small"), // "Other…" on a phone
    note: button("note", "Note", "small"),
    tag: button("tag", "Tag", "small"),
    back: button("back", "Back", "small"),
    skip: button("skip", "Skip", "small"),
    undo: button("undo", "Undo", "small"),
  };
  others.back.classList.add("pushed");
  fill(others.other.label, element("span", { className: "roomy", textContent: "Another class…" }), element("span", { className: "brief", textContent: "Other…" }));
  const taken = element("bdi", { className: "taken", dir: "auto" });
  others.undo.append(taken);
  const decide = element("div", { className: "decide", role: "group", "aria-label": "Decide" }, ...Object.values(decisions), third);
  const more = element("div", { className: "others", role: "group", "aria-label": "Other actions" }, ...Object.values(others));
  const notice = element("p", { className: "notice", hidden: true });
  const together = element("input", { type: "checkbox" });
  together.onchange = press("copies");
  const togetherText = element("span");
  const copies = element("label", { className: "copies", hidden: true }, together, togetherText);
  const deciding = element("div", { className: "deciding" }, decide, copies, more);
  const reason = element("p", { className: "reason" }); // on a phone it stands here instead of above the picture
  const how = element("section", { className: "how" });
  const facts = element("p", { className: "facts" });
  const strips = createStrips(handlers);
  const proof = element("div", { className: "proof" }, reason, how, strips.element, facts);
  const every = [...Object.values(decisions), third, ...Object.values(others)];

  /** Another text only where it is another, and then in new elements: nothing that stays has moved. */
  function worded(one, text, key = "") {
    if (one.label.textContent !== text || one.key.textContent !== key) {
      for (const [part, words] of [["label", text], ["key", key]]) {
        const made = one[part].cloneNode();
        made.textContent = words;
        one[part].replaceWith(made);
        one[part] = made;
      }
    }
    one.key.hidden = !key;
    if (key) one.setAttribute("aria-keyshortcuts", key);
    else one.removeAttribute("aria-keyshortcuts");
  }

  function enable(one, on) {
    one.setAttribute("aria-disabled", on ? "false" : "true");
  }

  function showClasses(suspect, state) {
    const many = suspect.classes.length > ROWS + 1;
    const rows = suspect.classes.map((chance, at) => {
      const room = many && at >= ROWS ? "shared" : chance.role === "given" ? "given" : "row";
      return classRow(chance, at, state.readOnly || state.missing, press, LONGEST[room]);
    });
    const shared = many ? [element("li", { className: "rest" }, element("ul", {}, ...rows.slice(ROWS)))] : rows.slice(ROWS);
    fill(classes, ...rows.slice(0, ROWS), ...shared);
    classes.hidden = rows.length === 0;
  }

  function showDecisions(suspect, state) {
    const keys = state.keys ?? {};
    const open = !state.readOnly && !state.missing;
    for (const name of DECISIONS) {
      const action = suspect.actions[name];
      const text = action?.text ?? TEXTS[name];
      const short = brief(text, suspect.classes.find(({ label }) => label === action?.new_label)?.name);
      worded(decisions[name], short, keys[name]);
      whole(decisions[name], text === short ? "" : text);
      decisions[name].hidden = !action && suspect.blind;
      decisions[name].classList.toggle("primary", suspect.primary === name && open);
      decisions[name].classList.toggle("stands", stands(suspect.decision, action));
      enable(decisions[name], Boolean(action) && open);
    }
    // On a phone there are no digits: the likeliest class that has no button yet gets one.
    const at = suspect.classes.findIndex(({ role }, place) => place > 0 && role === "");
    third.hidden = at < 0;
    if (at >= 0) {
      third.dataset.act = String(at + 1);
      worded(third, shortened(suspect.classes[at].name, LONGEST.third));
      whole(third, suspect.classes[at].name);
      enable(third, open);
    }
    for (const name of ["note", "tag", "back", "skip", "undo"]) {
      const tags = name === "tag" && suspect.tags.length ? ` ${suspect.tags.length}` : "";
      worded(others[name], others[name].label.dataset.text + tags, keys[name]);
      const writes = ["note", "tag", "undo"].includes(name);
      enable(others[name], !(writes && state.readOnly) && !(name === "back" && state.canBack === false));
    }
    others.other.key.textContent = keys.other ?? "";
    others.other.key.hidden = !keys.other;
    enable(others.other, !state.readOnly);
    taken.textContent = state.undo ?? "";
    copies.hidden = !suspect.copies?.length || !open;
    together.checked = Boolean(state.all);
    togetherText.textContent = `For all ${(suspect.copies?.length ?? 0) + 1} exact copies at once${keys.copies ? ` (${keys.copies})` : ""}`;
    others.tag.title = suspect.tags.join(", ");
  }

  function showNotice(suspect) {
    const said = suspect.notice.length ? rich(suspect.notice) : suspect.conflict ? [suspect.conflict] : [];
    // Before all else: what follows is about another picture.
    if (suspect.changed) said.unshift(element("strong", { textContent: suspect.changed }), " ");
    notice.hidden = said.length === 0;
    fill(notice, ...said);
  }

  function showHow(suspect) {
    const { map } = suspect;
    // A new one, as all of this is: nothing that stays has moved.
    measuring = createMeasureRow(press);
    measuring.show(suspect, stateShown);
    how.hidden = !map && !suspect.no_map;
    if (!map) return fill(how, element("p", { className: "caption quiet" }, suspect.no_map));
    const head = element("div", { className: "how-head" }, element("h2", { textContent: map.title }), element("span", { className: "note", textContent: map.title_note, title: map.title_note }));
    const remark = map.remark?.length ? element("p", { className: "caption quiet" }, ...rich(map.remark)) : null;
    const parts = element("div", { className: "aside" }, element("ul", { className: "parts" }, ...map.regions.slice(0, 2).map(part)), remark);
    fill(how, head, map.waterfall.length ? element("div", { className: "how-body" }, waterfall(map, charted()), parts) : parts, measuring.element);
  }

  for (const one of Object.values(others)) one.label.dataset.text = one.label.textContent;

  let verdict = [];
  let width = Infinity;
  let suspectShown = null;
  let stateShown = {};
  let measuring = null; // the row of the suspect that is shown
  let compared = null; // the strips that are shown
  const charted = () => Math.floor(Math.max(LEAST, Math.min(CHART, innerWidth >= BROAD ? width - BESIDE : width)));
  const card = {
    select: strips.select,
    ...{ say, deciding, notice, proof, others, decisions },
    /** The size of the verdict for the width there is, in pixels where that has changed. */
    fit(now = width) {
      const wide = charted();
      width = now;
      if (suspectShown && charted() !== wide) showHow(suspectShown);
      title.className = fitting(verdict, width);
    },
    /** `same`: it is shown already, and only what is said of it has changed. */
    show(suspect, state, same) {
      [suspectShown, stateShown] = [suspect, state];
      beside(namesOf(suspect));
      const parts = state.title?.length ? state.title : suspect.headline;
      fill(title, ...rich(parts));
      verdict = parts;
      card.fit();
      fill(lead, ...rich(state.lead?.length ? state.lead : suspect.reason));
      showClasses(suspect, state);
      showDecisions(suspect, state);
      showNotice(suspect);
      strips.printed(state.keys?.flicker ?? "");
      if (same) return measuring.show(suspect, state);
      fill(reason, ...rich(suspect.reason));
      facts.textContent = suspect.facts;
      showHow(suspect);
      // Where only numbers have changed, pictures stay, and what is read stays in sight.
      if (suspect.typical === compared) return;
      compared = suspect.typical;
      strips.show(suspect);
      if (proof.scrollTop) proof.scrollTop = 0;
    },
    loading() {
      for (const one of every) {
        enable(one, one === others.back);
        one.classList.remove("primary", "stored", "stands");
      }
      // No button names a class of the suspect that is gone.
      for (const name of DECISIONS) worded(decisions[name], TEXTS[name], decisions[name].key.textContent);
      worded(third, "");
      third.hidden = true;
      taken.textContent = "";
    },
    /** Say for a moment that a press was taken. */
    flash(name) {
      const one = decisions[name] ?? others[name];
      if (!one) return;
      one.classList.add("stored");
      setTimeout(() => one.classList.remove("stored"), 160);
    },
  };
  return card;
}

/** The largest size of a verdict that takes one line; else two of the smallest. The decisions below never move. */
function fitting(parts, width) {
  const text = parts.map(([part, role]) => (role ? shortened(part) : part)).join("");
  for (const [name, font] of FONTS) {
    measure.font = `${font} "Source Sans", sans-serif`;
    if (measure.measureText(text).width < width - 4) return name;
  }
  return "longest";
}

const measure = document.createElement("canvas").getContext("2d");

function stands(decision, action) {
  return Boolean(decision && action && decision.decision === action.decision && (decision.new_label ?? "") === (action.new_label ?? ""));
}

/** All names of classes that stand beside one another on a suspect's card and over its picture. */
function namesOf({ classes, typical, similar, given, map }) {
  const strips = [...typical, ...(similar?.pictures ?? [])];
  return [...classes, ...strips].map(({ name }) => name).concat(given.name, map?.for, map?.against);
}

/** The words of a button, of which the class's name is all that may be long. */
function brief(text, name) {
  return name && text.endsWith(name) ? text.slice(0, -name.length) + shortened(name, LONGEST.button) : text;
}

/** All of a button's words, for the pointer and for those who hear the page, where they are cut; "" where they are not. */
function whole(button, text) {
  button.title = text;
  if (text) button.setAttribute("aria-label", text);
  else button.removeAttribute("aria-label");
}

function classRow(chance, at, shut, press, longest) {
  const digit = element("button", {
    className: "bare digit",
    type: "button",
    "aria-label": `Decide: ${chance.name}`,
    "aria-disabled": shut ? "true" : "false",
    onclick: press(String(at + 1)),
  }, element("kbd", { textContent: String(at + 1) }));
  const share = Math.min(1, Math.max(0, chance.probability));
  const fillOf = element("span", { className: "fill", style: { width: `${100 * share}%` } });
  return element(
    "li",
    { className: `class ${chance.role || "neither"}` },
    digit,
    element("span", { className: "name" }, cut(chance.name, "", longest), chance.role === "given" ? element("span", { className: "filed", textContent: chance.name.length > 16 ? " given" : " given label" }) : null),
    element("span", { className: "bar", "aria-hidden": "true" }, fillOf),
    element("span", { className: "share", textContent: chance.text }),
  );
}

function part(region) {
  const [before, after] = region.hidden ?? [];
  return element(
    "li",
    { className: `part ${region.sign > 0 ? "for" : "against"}${region.contradicted ? " contradicted" : ""}` },
    element("span", { className: "number", textContent: String(region.number) }),
    element("strong", { textContent: region.place }),
    region.on_map ? element("span", { className: "quiet", textContent: ` on the map ${region.on_map}` }) : null,
    before ? element("div", {}, "Hidden, measured: ", element("span", { className: "together" }, `${before} → `, element("strong", { textContent: after }))) : element("div", { className: "quiet", textContent: "Not measured." }),
  );
}
