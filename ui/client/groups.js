// Cards below headings: by pair of classes or by likeness, as the list is ordered.

import { element } from "./dom.js";
import { cut } from "./names.js";

const UNLIKE = "Like no other here";

/**
 * @param {string} order of the list
 * @param {import("./cards.js").Card[]} cards in that order
 * @param {?(paths: string[]) => void} select all of a group at once; null where nothing can be selected
 * @param {(card: import("./cards.js").Card) => string} pairOf address of the page of a card's class pair
 */
export function grouped(order, cards, select, pairOf) {
  if (order !== "pair" && order !== "similar") return [{ heading: [], cards }];
  return runs(cards, order === "pair" ? pairKey : likenessKey).map((members) => ({
    heading: order === "pair" ? pairHeading(members[0], pairOf) : [likenessHeading(members)],
    tools: select ? [selectAll(members, select)] : [],
    cards: members,
  }));
}

/** Neighbours in the list that have the same key. */
function runs(cards, keyOf) {
  const found = [];
  let before = null;
  for (const card of cards) {
    const key = keyOf(card);
    if (found.length && key === before) found.at(-1).push(card);
    else found.push([card]);
    before = key;
  }
  return found;
}

function pairKey({ given, other }) {
  return JSON.stringify([given.label, other.label]);
}

function likenessKey({ cluster }) {
  return cluster;
}

function pairHeading(card, pairOf) {
  const words = [cut(card.given.name, "given"), " → ", cut(card.other.name, "other")];
  return [element("a", { href: pairOf(card) }, ...words)];
}

function likenessHeading(members) {
  return members[0].cluster < 0 || members.length === 1 ? UNLIKE : `${members.length} that look alike`;
}

function selectAll(members, select) {
  const button = element("button", { type: "button", className: "small", textContent: `Select ${members.length}` });
  button.onclick = () => select(members.map(({ path }) => path));
  return button;
}
