// Texts that nobody can trust, as nodes: names isolated from what is beside them, long ones without their middle.

import { element } from "./dom.js";
import { shortened } from "./shorten.js";

export { beside, shortened } from "./shorten.js";

/**
 * A name: isolated, so that right-to-left letters do not reorder what is beside it; `whole`, where it is more than the
 * text, in the tooltip and for those who hear the page.
 */
export function named(text, role = "", whole = text) {
  if (whole === text) return element("bdi", { dir: "auto", className: role, textContent: text });
  const heard = element("span", { className: "whole", textContent: whole });
  const className = `short ${role}`.trim();
  return element("bdi", { dir: "auto", className, title: whole }, element("span", { "aria-hidden": "true", textContent: text }), heard);
}

/** The same without its middle where it is long, and whole in the tooltip then. */
export function cut(text, role = "", longest = undefined) {
  return named(shortened(text, longest), role, text);
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
    role && role !== "strong" ? cut(text, role) : segments([[text, role]])[0],
  );
}

/** The words of segments, for labels and for those who hear the page. */
export function plain(parts) {
  return parts.map(([text]) => text).join("");
}
