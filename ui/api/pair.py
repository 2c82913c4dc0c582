"""One class pair: the suspects filed as one class that look like another, and what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from gradattn_core import belief
from gradattn_core.belief import PRIMARY
from gradattn_core.kinds import suggestion
from gradattn_core.store.chances import Chances
from gradattn_core.store.store import Store
from gradattn_core.verdict import Rich
from gradattn_core.wording import count_of, distinct_names, short_name
from ui.api.answers import Asked, get, post
from ui.api.cards import cards, rows_of
from ui.api.threshold import by_threshold
from ui.pair.told import Crop, Dot, Pair, PairName, Side, Tiny, Zone

SHOWN = 48
"""Undecided pictures on the page; all of them are in Grid."""
_SHOWN_SMALL = 12
_CROPS = 8
_DOTS = 400
_TYPICAL = 8
_OFFERED = 300
_OWN_CLASSES = 10
_THRESHOLDS = (90, 80, 65)
_WORDS = {"keep": "right", "unsure": "unsure", "remove": "removed"}


def pair(asked: Asked) -> object:
    """``GET pair``: the pair of ``given`` and ``suggested``, or the worst one; null where the audit has none."""
    found = of(asked.store, asked.audit, asked.text("given", ""), asked.text("suggested", ""))
    return None if found is None else asdict(found)


def of(store: Store, audit: str, given: str, suggested: str) -> Pair | None:
    """The pair with these labels (``suggested`` may be empty: none of the classes), or the worst one, and why."""
    frame = store.audits.class_pairs(audit)
    if frame.empty:
        return None
    labels = [(str(first), str(second)) for first, second in frame[["given_label", "suggested_label"]].to_numpy()]
    known = (given, suggested) in labels
    remark = "" if known or not given else f"No suspect filed as {short_name(given)} looks like {_called(suggested)}."
    at = labels.index((given, suggested)) if known else 0
    names = [
        _pair_name(*pair, int(left)) for pair, left in zip(labels, frame["suspects"] - frame["decided"], strict=True)
    ]
    return _Reading(store, audit, *labels[at]).pair(at, names, remark)


@dataclass(frozen=True)
class _Reading:
    store: Store
    audit: str
    given: str
    suggested: str

    @property
    def names(self) -> tuple[str, str]:
        return distinct_names(self.given, self.suggested)

    def pair(self, at: int, names: Sequence[PairName], remark: str) -> Pair:
        listed = self.store.proposals.listed
        frame = listed(self.audit, given=self.given, suggested=self.suggested)
        said = frame["decision"] != ""
        undecided, decided = frame[~said].reset_index(drop=True), frame[said]
        places = [_place(own, other) for own, other in zip(undecided["given"], undecided["suggested"], strict=True)]
        backward = listed(self.audit, given=self.suggested, suggested=self.given)
        if not self.suggested:
            backward = backward.iloc[:0]
        back_left = backward[backward["decision"] == ""]
        chances = Chances(undecided["suggested"].to_numpy(np.float64), undecided["given"].to_numpy(np.float64))
        steps = by_threshold(chances, self.store.proposals.followed(self.audit)).steps
        step = next((step for least in _THRESHOLDS for step in steps if step.at == least and step.count), None)
        shown, certain = _zones(places), sorted(range(len(places)), key=lambda at: places[at][1])[: 2 * _CROPS]
        ends = decided["path"].head(_SHOWN_SMALL), backward["path"].head(_SHOWN_SMALL)
        within = [at for each in shown.values() for at in each]
        few = self._rows([*undecided["path"].iloc[[*within, *certain]], *ends[0], *ends[1]])
        red, blue = self._crops(few.loc[undecided["path"].iloc[certain]])
        finished, note = self._finished(len(undecided))
        return Pair(
            given=self._side(self.given, self.names[0]),
            other=self._side(self.suggested, self.names[1]),
            remark=remark,
            number=at + 1,
            of=len(names),
            before=names[at - 1] if at else None,
            after=names[at + 1] if at + 1 < len(names) else None,
            pairs=tuple(names[:_OFFERED]),
            headline=self._headline(len(frame)),
            sentence=self._sentence(
                places, decided, float((1 - undecided["given"]).sum()), len(back_left), len(backward)
            ),
            undecided=len(undecided),
            zones=self._zones(
                {name: few.loc[undecided["path"].iloc[within]] for name, within in shown.items()}, places
            ),
            dots=_dots(undecided["path"].astype(str).tolist(), places),
            gap="nothing between 35 and 65%" if {zone for zone, _ in places} == {"given", "other"} else "",
            decided=tuple(_tiny(row, _now(row)) for row in rows_of(few.loc[ends[0]])),
            decided_count=len(decided),
            decided_note=_tally(decided),
            reverse=tuple(
                _tiny(row, _now(row) or _chance(row, self.names[0], self.given)) for row in rows_of(few.loc[ends[1]])
            ),
            reverse_count=len(backward),
            reverse_note=f"filed as {self.names[1]}",
            blue=blue,
            red=red,
            step=step,
            above=step.at if step else 0,
            finished=finished,
            finished_note=note,
        )

    def _headline(self, count: int) -> Rich:
        looks = "looks like" if count == 1 else "look like"
        said = (f"{count_of(count, 'picture')} filed as ", ""), (self.names[0], "given")
        return (*said, (f" {looks} ", ""), (self.names[1], "other"))

    def _sentence(
        self, places: Sequence[tuple[str, float]], decided: pd.DataFrame, wrong: float, back: int, back_all: int
    ) -> Rich:
        zones = Counter(zone for zone, _ in places)
        said: list[tuple[str, str]] = []
        if len(decided):
            said.append((f"{_tally(decided).capitalize()}. ", ""))
        if not places:
            said.append(("All are decided. ", ""))
        else:
            parts = [
                (zones["other"], "is probably wrong", "are probably wrong"),
                (zones["open"], "is open", "are open"),
                (zones["given"], "is probably right", "are probably right"),
            ]
            words = [f"{count:,} {one if count == 1 else many}" for count, one, many in parts if count]
            left = "Of the one undecided, " if len(places) == 1 else f"Of the {len(places):,} undecided, "
            said.append((left if len(places) > 1 else "One is undecided: ", ""))
            for index, phrase in enumerate(words):
                if index:
                    said.append((" and " if index == len(words) - 1 else ", ", ""))
                said.append((phrase if len(places) > 1 else phrase.removeprefix("1 is ").capitalize(), "strong"))
            said.append((f" ({wrong:.1f} expected wrong). ", ""))
        if self.suggested:
            rest = f", {back:,} undecided" if back != back_all else ""
            count = f"{count_of(back_all, 'suspect')}{rest}" if back_all else "none"
            said.append((f"The other way round: {count}.", ""))
        return tuple(said)

    def _zones(self, shown: Mapping[str, pd.DataFrame], places: Sequence[tuple[str, float]]) -> tuple[Zone, ...]:
        given, other = self.names
        titles = {"given": f"Probably {given}", "open": "Open", "other": f"Probably {other}"}
        counts = Counter(zone for zone, _ in places)
        return tuple(
            Zone(name, f"{title}: {counts[name]:,}", counts[name], tuple(cards(self.store, self.audit, shown[name])))
            for name, title in titles.items()
        )

    def _crops(self, few: pd.DataFrame) -> tuple[tuple[Crop, ...], tuple[Crop, ...]]:
        rows = rows_of(few)
        crops: dict[int, list[Crop]] = {1: [], -1: []}
        parts = self.store.showing.strongest(self.audit, [str(row["path"]) for row in rows])
        for row in rows:
            for sign, box in parts.get(str(row["path"]), ()):
                size = (int(str(row["width"])), int(str(row["height"])))
                place = (box.left, box.top, box.right, box.bottom)
                crops[sign].append(Crop(str(row["path"]), str(row["content_hash"]), *size, place))
        return tuple(crops[1][:_CROPS]), tuple(crops[-1][:_CROPS])

    def _rows(self, paths: Sequence[str]) -> pd.DataFrame:
        """All that the list knows of a few of its pictures, by path."""
        frame = self.store.candidates.page(self.audit, paths=list(dict.fromkeys(paths)))
        return frame.set_index("path", drop=False)

    def _side(self, label: str, name: str) -> Side:
        if not label:
            labels = self.store.audits.outside_labels(self.audit, self.given)[:_OWN_CLASSES]
            return Side("", name, "the model's own classes for them", (), tuple(short_name(own) for own in labels))
        paths = self.store.images.exemplars(self.audit, label)["path"].head(_TYPICAL).astype(str).tolist()
        frame = self.store.candidates.page(self.audit, paths=paths, everything=True)
        hashes = dict(zip(frame["path"].astype(str), frame["content_hash"].astype(str), strict=True))
        pictures = tuple(Tiny(path, hashes[path], "") for path in paths if path in hashes)
        images = self.store.showing.class_sizes(self.audit).get(label, 0)
        return Side(label, name, f"{count_of(images, 'picture')}, the most certain", pictures, ())

    def _finished(self, undecided: int) -> tuple[bool, str]:
        """Whether somebody has called it finished, and the words beside the button."""
        for mark in self.store.finished.all(self.audit):
            if (mark.given_label, mark.suggested_label) == (self.given, self.suggested):
                return True, f"Called finished by {mark.reviewer}."
        if not undecided:
            return False, "Finished: all are decided."
        return False, f"Finished when {'it is' if undecided == 1 else f'all {undecided:,} are'} decided"


def finish(asked: Asked) -> object:
    """``POST finished``: call a pair finished although suspects of it are left, or take that back."""
    asked.writing()
    given, suggested, reviewer = asked.text("given"), asked.text("suggested", ""), asked.reviewer()
    if asked.flag("on"):
        asked.store.finished.mark(asked.audit, given, suggested, reviewer=reviewer)
    else:
        asked.store.finished.take_back(asked.audit, given, suggested)
    return {"finished": asked.flag("on")}


def _zones(places: Sequence[tuple[str, float]]) -> dict[str, list[int]]:
    """Which pictures are shown of each zone, along the line; of too many those at its ends, which are the plainest."""
    shown = {}
    for name in ("given", "open", "other"):
        within = sorted((at for at, (zone, _) in enumerate(places) if zone == name), key=lambda at: places[at][1])
        shown[name] = within[-SHOWN:] if name == "other" else within[:SHOWN]
    return shown


def _dots(paths: Sequence[str], places: Sequence[tuple[str, float]]) -> tuple[Dot, ...]:
    """The undecided pictures on the line; of very many an even sample, as dots upon dots tell no more."""
    order = sorted(range(len(places)), key=lambda at: places[at][1])
    step = -(-len(order) // _DOTS) or 1
    return tuple(Dot(paths[at], places[at][1], places[at][0]) for at in order[::step])


def _place(own: float, other: float) -> tuple[str, float]:
    """The zone of a picture, and where it lies between the given class (0) and the other (1).

    Exact in the zones at both ends, and never outside its zone: a third class may have a share of it.
    """
    if own >= PRIMARY:
        return "given", 1 - own
    if other >= PRIMARY:
        return "other", other
    return "open", min(PRIMARY, max(1 - PRIMARY, (1 + other - own) / 2))


def _called(label: str) -> str:
    return suggestion(short_name(label))


def _pair_name(given: str, suggested: str, left: int) -> PairName:
    return PairName(given, suggested, " → ".join(distinct_names(given, suggested)), left)


def _tiny(row: dict[str, object], text: str) -> Tiny:
    return Tiny(str(row["path"]), str(row["content_hash"]), text)


def _now(row: dict[str, object]) -> str:
    decision = str(row["decision"])
    return f"now {short_name(str(row['new_label']))}" if decision == "relabel" else _WORDS.get(decision, "")


def _chance(row: dict[str, object], name: str, label: str) -> str:
    return f"{name} {belief.in_percent(belief.of_row(row).of(label))}"


def _tally(decided: pd.DataFrame) -> str:
    """``3 were relabelled, 1 is right``."""
    counts = decided["decision"].value_counts()
    words = {
        "relabel": ("was relabelled", "were relabelled"),
        "keep": ("is right", "are right"),
        "unsure": ("is unsure", "are unsure"),
        "remove": ("was removed", "were removed"),
    }
    said = [
        f"{counts[name]:,} {one if counts[name] == 1 else many}"
        for name, (one, many) in words.items()
        if counts.get(name)
    ]
    return ", ".join(said)


ROUTES = [get("pair", pair), post("finished", finish)]
