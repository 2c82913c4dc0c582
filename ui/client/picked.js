// Beside the map: what is selected, in numbers and pictures; and where nothing is, the classes, to select by keyboard.

import { createCard } from "./cards.js";
import { element, fill } from "./dom.js";
import { cut } from "./names.js";

const MORE = 24; // pictures that are asked for at a time
const NAMED = 3; // labels that a selection was filed under, told by name

export const whole = (count) => count.toLocaleString("en");
const pictures = (count) => `${whole(count)} ${count === 1 ? "picture" : "pictures"}`;
const suspects = (count) => `${whole(count)} undecided ${count === 1 ? "suspect" : "suspects"}`;

/** How many of some pictures are undecided suspects, decided, and neither. */
export function count(states, indices) {
  const found = { undecided: 0, decided: 0, others: 0 };
  for (const at of indices) found[{ d: "decided", ".": "others" }[states[at]] ?? "undecided"]++;
  return found;
}

/** The same in words, as it is heard. */
export function told({ undecided, decided, others }) {
  const parts = [[suspects(undecided), undecided], [`${whole(decided)} decided`, decided]];
  parts.push([`${whole(others)} not ${others === 1 ? "a suspect" : "suspects"}`, others]);
  return parts.filter(([, some]) => some).map(([text]) => text);
}

/**
 * @param {HTMLElement} root
 * @param {{audit: string, cards: (paths: string[]) => Promise<object[]>, choose: (indices: number[], title: Node[]) => void,
 *   review: () => void, grid: () => void, clear: () => void, near: (path: string) => void, hover: (index: number) => void,
 *   href: (card: object) => string}} does
 */
export function createPanel(root, does) {
  let turn = 0; // of what is shown: an answer that comes after another selection is not

  /** The classes as a list; each selects its pictures. */
  function overview(points) {
    turn++;
    const members = points.classes.map(() => []);
    points.given.forEach((number, at) => members[number].push(at));
    const rows = points.classes.map((each, number) => ({ each, number, ...count(points.states, members[number]) }));
    rows.sort((one, other) => other.undecided - one.undecided || one.each.name.localeCompare(other.each.name));
    const list = element("ul", { className: "classes" }, ...rows.map(({ each, number, undecided }) => {
      const amount = undecided ? suspects(undecided) : "no undecided suspect";
      const title = each.whole === each.name ? null : each.whole;
      const button = element("button", { className: "plain", type: "button", title }, cut(each.name),
        element("span", { className: "caption quiet", textContent: `${pictures(each.pictures)}, ${amount}` }));
      button.onclick = () => does.choose(members[number], ["Filed as ", cut(each.name)]);
      return element("li", {}, button);
    }));
    fill(root,
      element("p", { className: "quiet" }, "Draw around pictures to select them, click one, or choose a class."), list);
  }

  /**
   * @param points all; @param {number[]} indices those selected; @param {Node[]|null} title in place of their number
   * @param {string[]|null} paths where their order is another, or some are not on the map
   */
  function selection(points, indices, title, paths, ready) {
    const mine = ++turn;
    const found = count(points.states, indices);
    const [undecided, ...others] = told(found);
    const first = found.undecided ? element("strong", { textContent: undecided }) : undecided;
    const head = element("header", {}, element("h2", {}, ...(title ?? [`${pictures(indices.length)} selected`])),
      element("button", { type: "button", className: "small", onclick: () => does.clear() }, "Clear", key("Esc")));
    const labels = new Map();
    for (const at of indices) labels.set(points.given[at], (labels.get(points.given[at]) ?? 0) + 1);
    const filed = [...labels].sort((one, other) => other[1] - one[1]);
    const rest = filed.slice(NAMED).reduce((sum, [, some]) => sum + some, 0);
    const words = filed.slice(0, NAMED).flatMap(([number, some], at) => [
      at ? " · " : "Filed as: ", cut(points.classes[number].name), ` ${whole(some)}`,
    ]);
    const review = element("button", { type: "button", className: "primary review", onclick: () => does.review() },
      element("span", { textContent: `Review the ${whole(found.undecided)} undecided` }), key("Enter"));
    review.disabled = !found.undecided;
    const grid = element("button", { type: "button", className: "grid", onclick: () => does.grid() }, "Open in Grid", key("G"));
    grid.disabled = !indices.length;
    const list = element("ul", { className: "cards" });
    const more = element("button", { type: "button", className: "more", hidden: true });
    const order = paths ?? indices.slice().sort((one, other) => rank(points, one) - rank(points, other))
      .map((at) => points.paths[at]);
    more.onclick = () => add();
    fill(root, head,
      element("p", { className: "counts" }, first, others.length ? `, ${others.join(", ")}` : "",
        title && indices.length ? ` of ${pictures(indices.length)}` : ""),
      element("p", { className: "caption quiet" }, ...words, rest ? ` · others ${whole(rest)}` : ""),
      element("div", { className: "actions" }, review, grid),
      list, more);
    add(ready);

    async function add(made = null) {
      const wanted = order.slice(list.children.length, list.children.length + MORE);
      more.disabled = true;
      // Without them the button stays, and asks again.
      const cards = made ?? (wanted.length ? await does.cards(wanted).catch(() => []) : []);
      if (mine !== turn) return;
      list.append(...cards.map((card) => small(card, points)));
      const left = order.length - list.children.length;
      set(more, left > 0 && (cards.length > 0 || !made), `${whole(Math.min(MORE, left))} more`);
    }
  }

  function small(card, points) {
    const item = createCard(does.audit, card, { href: does.href(card), ticks: false });
    const index = points.place.get(card.path) ?? -1;
    item.classList.add(`is-${{ ".": "plain", d: "decided", w: "wrong" }[points.states[index]] ?? "open"}`);
    const near = element("button", { type: "button", className: "bare near", textContent: "Similar" });
    near.setAttribute("aria-label", `Pictures similar to this one: ${card.said}`);
    near.onclick = () => does.near(card.path);
    item.append(near);
    item.onpointerenter = () => does.hover(index);
    item.onpointerleave = () => does.hover(-1);
    return item;
  }

  return { overview, selection };
}

/** Undecided suspects first, then decided pictures, then the others; the most suspect first in each. */
function rank(points, at) {
  const state = points.states[at];
  return points.ranks[at] + { ".": 2e9, d: 1e9 }[state] || points.ranks[at];
}

function key(letter) {
  return element("kbd", { textContent: letter });
}

function set(button, shown, text) {
  button.hidden = !shown;
  button.disabled = false;
  button.textContent = text;
}
