"""Long names without what tells nothing, so that names that stand side by side never look alike.

The same as in ``ui/client/shorten.js``, for what clients draw: alone a name loses its middle, as what tells names apart
mostly stands at their ends; of names that would then look alike, each keeps the piece in which they differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType

LONGEST = 28
"""Letters of a name that has no less room."""

_END = 2  # Letters that are left of either end at least.


def shortened(name: str, longest: int = LONGEST, beside: Iterable[str] = ()) -> str:
    """A name in at most ``longest`` letters, if every name of ``beside`` can be told from it then."""
    if len(name) <= longest:
        return name
    return apart(tuple(dict.fromkeys([*beside, name])), longest)[name]


@functools.lru_cache(maxsize=16)
def apart(names: tuple[str, ...], longest: int) -> Mapping[str, str]:
    """Names to how they are written: different names differently, in ``longest`` letters wherever that can be."""
    long: list[str] = []
    found: dict[str, str] = {}
    for name in names:
        if len(name) > longest:
            long.append(name)
        else:
            found[name] = name
    taken = set(found)
    for group in _alike(long, lambda name: _ends(name, longest)):
        for name, short in _told(group, longest):
            # Better too long than taken for another.
            found[name] = name if short in taken else short
            taken.add(short)
    return MappingProxyType(found)


def _ends(name: str, longest: int) -> str:
    first = longest // 2
    return f"{name[:first]}…{name[first + 1 - longest :]}"


def _alike(names: Sequence[str], how: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(how(name), []).append(name)
    return list(groups.values())


def _told(group: Sequence[str], longest: int, before: int = -1) -> list[tuple[str, str]]:
    """How names are written whose ends are alike; up to ``before`` they are known to be the same."""
    if len(group) == 1:
        return [(group[0], _ends(group[0], longest))]
    start = _common(group)
    if start <= before:
        return [(name, name) for name in group]
    tail = min(_common([name[::-1] for name in group]), min(map(len, group)) - start)

    def piece(name: str, side: int) -> str:
        return _around(name, start, len(name) - tail, longest, side)

    most = (longest - 2) // 3
    # Less of the ends, where the piece tells more of them apart then.
    for side in range(most, _END - 1, -1):
        shorts = [piece(name, side) for name in group]
        if len(set(shorts)) == len(group):
            return list(zip(group, shorts, strict=True))
    found: list[tuple[str, str]] = []
    for same in _alike(group, lambda name: piece(name, most)):
        found += [(same[0], piece(same[0], most))] if len(same) == 1 else _told(same, longest, start)
    return found


def _common(names: Sequence[str]) -> int:
    """How many letters they begin with alike."""
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))


def _around(name: str, start: int, end: int, longest: int, side: int) -> str:
    """Both ends of a name, and the piece between them from ``start`` on, up to ``end`` if there is room."""
    room = longest - 2 - 2 * side
    lead = max(0, min(2, (room - (end - start)) // 2))
    last = len(name) - side - room
    begin = max(side, min(start - lead, last))
    before, after = "…" if begin > side else "", "…" if begin < last else ""
    return f"{name[:side]}{before}{name[begin : begin + room]}{after}{name[-side:]}"
