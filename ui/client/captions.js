// What is said over a picture and of it: the words of its map, what it is for who cannot see it, and where it may have gone.

import { element, fill } from "./dom.js";
import { cut } from "./names.js";

const WORDS = { red: ["red", "blue"], orange: ["orange", "purple"] };

/** The words of a map that is shown. `outside`: there is something that the model never saw. */
export function legend(plate, { for: given, against }, { palette, locked, keys }, outside) {
  const [red, blue] = WORDS[palette];
  const name = (text) => cut(text, "", 24);
  const sides = [`${locked ? "locked" : "held"}: map shown. Bright ${red}: for `, name(given), `. Bright ${blue}: for `, name(against), "."];
  const dark = `Dark: no evidence.${outside ? " Hatched border: never seen by the model." : ""}`;
  const key = locked ? keys.lock : keys.map;
  fill(
    plate,
    key ? element("kbd", { textContent: key }) : null,
    element("div", {}, element("div", {}, ...sides), element("div", { className: "lesser", textContent: dark })),
  );
}

/** The same of a map by another method. */
export function legendOf(plate, { for: given, against, title, signed }, { palette }, outside) {
  const [red, blue] = WORDS[palette];
  const name = (text) => cut(text, "", 24);
  const sides = signed ? [`Bright ${red}: for `, name(given), `. Bright ${blue}: for `, name(against), "."] : ["Bright green: it matters, for whichever class."];
  const dark = signed ? "Dark: no evidence." : "Dark: it matters little.";
  const lesser = `${dark}${outside ? " Hatched border: never seen by the model." : ""} No number here is of this map.`;
  fill(
    plate,
    element("div", {}, element("strong", { textContent: title }), element("div", {}, ...sides), element("div", { className: "lesser", textContent: lesser })),
  );
}

/** What the picture says to who cannot see it. */
export function described(suspect, palette) {
  const parts = (suspect.map?.regions ?? []).filter((region) => region.before);
  const words = parts.map((region) => {
    const colour = WORDS[palette][region.sign > 0 ? 0 : 1];
    const taken = region.measured ?? 0;
    const way = taken < 0 || (taken === 0 && region.sign < 0) ? "rises" : "falls";
    return `Part ${region.number}, ${region.place}, ${colour}: hidden, ${suspect.map.for} ${way} from ${region.before} to ${region.after}.`;
  });
  const which = suspect.blind || !suspect.rank ? "Picture" : `Suspect ${suspect.rank}`;
  return [`${which}, filed as ${suspect.given.name}.`, ...words].join(" ");
}

/** Where the pictures have moved: asked for beside one that is missing. `look` rejects with what is wrong with a folder. */
export function elsewhere(look) {
  const field = element("input", { type: "text", id: "folder", required: true, autocomplete: "off", spellcheck: false });
  const words = element("p", { role: "status", className: "amber" });
  const form = element(
    "form",
    {},
    element("label", { htmlFor: "folder", textContent: "The folder where the pictures are now" }),
    field,
    element("button", { type: "submit", textContent: "Look there" }),
    words,
  );
  form.onsubmit = async (event) => {
    event.preventDefault();
    words.textContent = "";
    try {
      await look(field.value);
    } catch (error) {
      words.textContent = error.message;
    }
  };
  return form;
}
