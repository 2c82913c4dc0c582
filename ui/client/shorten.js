// Long names without what tells nothing. Alone a name loses its middle, as what tells names apart mostly stands at their
// ends; of names that stand side by side and would then look alike, each keeps the piece in which they differ.
// The same as in ui/markup.py, for pages that the server draws.

const LONGEST = 28;
const SHORT = 14; // what is shorter is never cut
const END = 2; // letters that are left of either end at least
const MOST = 20_000; // names that are kept

/** @type {Set<string>} long names that stand, or stood, beside others */
const known = new Set();
/** @type {Map<number, Map<string, string>>} by how many letters there are */
let written = new Map();

/** Tell of names that are about to be drawn side by side. @param {(string|null|undefined)[]} names */
export function beside(names) {
  const before = known.size;
  if (before > MOST) known.clear();
  for (const name of names) if (name && name.length > SHORT) known.add(name);
  if (known.size !== before) written = new Map();
}

/** A name in at most so many letters, as people see them, if any name that it stands beside can be told from it then. */
export function shortened(text, longest = LONGEST) {
  const letters = [...text];
  if (letters.length <= longest) return text;
  if (!known.has(text)) return ends(letters, longest);
  if (!written.has(longest)) written.set(longest, apart([...known], longest));
  return written.get(longest).get(text);
}

/** @returns {Map<string, string>} names to how they are written */
export function apart(names, longest) {
  const found = new Map();
  const long = [];
  for (const name of names) {
    const letters = [...name];
    if (letters.length <= longest) found.set(name, name);
    else long.push(letters);
  }
  const taken = new Set(found.keys());
  for (const group of alike(long, (letters) => ends(letters, longest))) {
    for (const [name, short] of told(group, longest)) {
      // Better too long than taken for another.
      found.set(name, taken.has(short) ? name : short);
      taken.add(short);
    }
  }
  return found;
}

function ends(letters, longest) {
  const first = Math.ceil((longest - 1) / 2);
  return `${letters.slice(0, first).join("")}…${letters.slice(first + 1 - longest).join("")}`;
}

/** Lists of names that are written alike, in the order of their first. */
function alike(names, how) {
  const groups = new Map();
  for (const letters of names) {
    const key = how(letters);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(letters);
  }
  return [...groups.values()];
}

/** How names are written whose ends are alike, [[name, short], …]; up to `before` they are known to be the same. */
function told(group, longest, before = -1) {
  if (group.length === 1) return [[group[0].join(""), ends(group[0], longest)]];
  const [one] = group;
  const least = Math.min(...group.map(({ length }) => length));
  let start = 0;
  while (start < least && group.every((letters) => letters[start] === one[start])) start++;
  let tail = 0;
  while (tail < least - start && group.every((letters) => letters.at(-1 - tail) === one.at(-1 - tail))) tail++;
  if (start <= before) return group.map((letters) => [letters.join(""), letters.join("")]);
  const piece = (side) => (letters) => around(letters, start, letters.length - tail, longest, side);
  const most = Math.floor((longest - 2) / 3);
  // Less of the ends, where the piece tells more of them apart then.
  for (let side = most; side >= END; side--) {
    const shorts = group.map(piece(side));
    if (new Set(shorts).size === group.length) return group.map((letters, at) => [letters.join(""), shorts[at]]);
  }
  return alike(group, piece(most)).flatMap((same) =>
    same.length === 1 ? [[same[0].join(""), piece(most)(same[0])]] : told(same, longest, start),
  );
}

/** Both ends of a name, and the piece between them from `start` on, where it differs, up to `end` if there is room. */
function around(letters, start, end, longest, side) {
  const room = longest - 2 - 2 * side;
  const lead = Math.max(0, Math.min(2, Math.floor((room - (end - start)) / 2)));
  const last = letters.length - side - room;
  const from = Math.max(side, Math.min(start - lead, last));
  const parts = [letters.slice(0, side), from > side ? ["…"] : [], letters.slice(from, from + room), from < last ? ["…"] : [], letters.slice(-side)];
  return parts.flat().join("");
}
