// Texts that nobody can trust, as nodes: names isolated from what is beside them, long ones without their middle.

import { element } from "./dom.js";

const LONGEST = 28;

/** A name: isolated, so that right-to-left letters do not reorder what is beside it; `whole` in the tooltip. */
export function named(text, role = "", whole = text) {
  return element("bdi", { dir: "auto", className: role, textContent: text, title: whole === text ? null : whole });
}

/** The same without its middle where it is long, and whole in the tooltip then. */
export function cut(text, role = "") {
  return named(shortened(text), role, text);
}

/**
 * Segments of a sentence, `[[text, role], …]`, in full: plain text where the role is "", else a <bdi> of that class.
 * @returns {Node[]}
 */
export function segments(parts) {
  return parts.map(([text, role]) => (role ? named(text, role) : document.createTextNode(text)));
}

/** The same with long names cut in the middle and whole in the tooltip. */
export function rich(parts) {
  return parts.map(([text, role]) =>
    role && role !== "strong" ? named(shortened(text), role, text) : segments([[text, role]])[0],
  );
}

/** The words of segments, for labels and for those who hear the page. */
export function plain(parts) {
  return parts.map(([text]) => text).join("");
}

/** A long name without its middle: what tells names apart stands at their ends. By letters as people see them. */
export function shortened(text, longest = LONGEST) {
  const letters = [...text];
  if (letters.length <= longest) return text;
  const first = Math.ceil((longest - 1) / 2);
  return `${letters.slice(0, first).join("")}…${letters.slice(first + 1 - longest).join("")}`;
}
