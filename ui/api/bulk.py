"""Many pictures decided as one: what a threshold would take, what is to be expected of it, and the storing of it.

A bulk is a person's deed: its decisions are stored under one name and taken back by one undo, each names the newest
entry of the log that was shown with its picture, and none of them ever counts as evidence that bulks are right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from uuid import uuid4

import pandas as pd

from gradattn_core import belief
from gradattn_core.belief import Belief
from gradattn_core.store.log import Entry
from gradattn_core.store.outbox import Receipt
from gradattn_core.store.store import Store
from gradattn_core.wording import count_of, short_name
from ui import background, candidates_file
from ui.api.answers import Asked, AskedWrongly, post
from ui.api.cards import Card, cards, rows_of
from ui.api.filters import open_list
from ui.api.threshold import LEAST, NOTHING_DECIDED, Step, step_of, undecided
from ui.api.writes import sent_by

MOST = 240
"""Pictures of one bulk: as many as a person can look at in a dialog."""
_SUMS = {
    "accept": ("expected right", "right labels spoilt", "wrong either way"),
    "relabel": ("expected right", "right labels spoilt", "wrong either way"),
    "keep": ("expected right", "wrong labels kept"),
    "remove": ("wrong labels removed", "right labels removed"),
    "unsure": (),
}
_EXPLAINED = {
    "accept": "Each to its own suggestion",
    "relabel": "All to one class",
    "keep": "Each label stays as it is",
    "remove": "Each is marked for removal",
    "unsure": "Each is marked as unsure",
}
_DONE = {
    "accept": "decided as suggested",
    "relabel": "decided for that class",
    "keep": "the label is right",
    "remove": "marked for removal",
    "unsure": "marked as unsure",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A picture of a bulk: its card, what would be decided, and the chances of each outcome that is summed up.

    The ``id`` is that of the decision: however often it is sent, it is stored once.
    """

    id: str
    card: Card
    decision: str
    new_label: str | None
    parts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a dialog asks about.

    Attributes:
        choices: the least sure first.
        sums: what the ``parts`` of the choices add up to, in words.
        most_out: more pictures taken out than these are a surprise (probability below 5 %); None where nothing is
            expected. ``expected_out`` says how many were.
        note: what was left out, and why.
        to: the one class that all are relabelled to; empty for none.
        step: as that of a threshold, for the bar.
        supported: see :class:`Step`.
        batch: the id by which all of it is taken back as one.
    """

    choices: tuple[Choice, ...]
    sums: tuple[str, ...]
    most_out: int | None
    expected_out: str
    explained: str
    note: str
    to: str
    step: Step
    supported: bool
    batch: str


def preview(asked: Asked) -> object:
    """``POST preview``: the pictures of a bulk, named by ``paths`` or by a list and ``above`` (percent)."""
    decision = _decision(asked)
    label = asked.text("new_label", "") or None
    if (decision == "relabel") != (label is not None):
        raise AskedWrongly("new_label is for relabel, and only for it")
    least, store = _percent(asked), asked.store
    asking = Bulk(store, asked.audit, decision, label, least)
    if asked.parameters.get("paths") is not None:
        paths = list(dict.fromkeys(asked.texts("paths")))
        frame = store.candidates.page(asked.audit, paths=paths, decided="no")
        return asdict(asking.preview(frame, gone=len(paths) - len(frame)))
    query = open_list(asked, also=frozenset({"decision", "new_label", "above", "paths"}))
    filters = undecided(query.filters)
    frame = store.candidates.page(asked.audit, order="surest", top=MOST, **filters)
    fit = int((store.proposals.of(asked.audit, **filters).suggested >= (least or LEAST) / 100).sum())
    return asdict(asking.preview(frame, fit=fit))


@dataclass(frozen=True)
class Bulk:
    """One decision about many pictures.

    Attributes:
        decision: of the store, or ``accept`` for each to its own suggestion.
        least: percent that a suggestion has to be likely; None for pictures that somebody selected.
    """

    store: Store
    audit: str
    decision: str
    label: str | None
    least: int | None

    def preview(self, frame: pd.DataFrame, *, gone: int = 0, fit: int | None = None) -> Preview:
        """What the dialog shows of these undecided images.

        Args:
            gone: images that were selected and are decided already.
            fit: how many images of the list are likely enough, of which the surest are here.
        """
        thoughts = [belief.of_row(row) for row in rows_of(frame)]
        chances = [self._parts(thought) for thought in thoughts]
        least = (self.least or LEAST) / 100 if self.decision == "accept" else 0.0
        order = [
            at for at in sorted(range(len(frame)), key=lambda at: -_first(chances[at])) if _first(chances[at]) >= least
        ]
        taken = order[:MOST][::-1]
        few = [thoughts[at] for at in taken]
        shown = cards(self.store, self.audit, frame.iloc[taken])
        choices = [
            Choice(str(uuid4()), card, *self._decides(thoughts[at]), chances[at])
            for card, at in zip(shown, taken, strict=True)
        ]
        accepts = self.decision == "accept"
        evidence = self.store.proposals.followed(self.audit) if accepts else NOTHING_DECIDED
        outcomes = [_parts(thought, thought.other) for thought in few]
        totals = [math.fsum(parts[at] for parts in outcomes) for at in range(3)]
        of_all = f"above {self.least}%" if self.least is not None else "selected"
        step = step_of(self.least or LEAST, len(few), (totals[0], totals[1], totals[2]), evidence, of_all, "")
        wrong = [1 - _first(chances[at]) for at in taken]
        expected_out = math.fsum(wrong)
        return Preview(
            choices=tuple(choices),
            sums=_SUMS[self.decision],
            most_out=belief.most_taken_out(wrong) if _SUMS[self.decision] and self.decision != "remove" else None,
            expected_out="fewer than 1 was expected"
            if expected_out < 1
            else f"about {expected_out:.0f} {'was' if round(expected_out) == 1 else 'were'} expected",
            explained=_EXPLAINED[self.decision],
            note=self._note(len(frame), len(order) if fit is None else fit, gone),
            to=short_name(self.label) if self.label else "",
            step=step,
            supported=step.supported and self.decision == "accept",
            batch=str(uuid4()),
        )

    def _parts(self, thought: Belief) -> tuple[float, ...]:
        own = thought.of(thought.given)
        if self.decision == "accept":
            return _parts(thought, thought.other)
        if self.decision == "relabel" and self.label == thought.given:
            # It stays what it is, so nothing is spoilt.
            return own, 0.0, 1 - own
        if self.decision == "relabel":
            return _parts(thought, self.label)
        return {"keep": (own, 1 - own), "remove": (1 - own, own)}.get(self.decision, ())

    def _decides(self, thought: Belief) -> tuple[str, str | None]:
        if self.decision == "accept":
            decision, label = _said(thought.other)
            return decision, label or None
        if self.decision == "relabel" and self.label == thought.given:
            return "keep", None
        return self.decision, self.label

    def _note(self, found: int, fit: int, gone: int) -> str:
        """What of the pictures is not among those that are shown, and why."""
        said = []
        if gone:
            said.append(f"{gone:,} of the selected {'is' if gone == 1 else 'are'} decided already.")
        if self.decision == "accept" and self.least is None and fit < found:
            low = found - fit
            said.append(
                f"The suggestion of {low:,} of them is below {LEAST}%: {'it stays' if low == 1 else 'they stay'} "
                "undecided, for one-by-one review."
            )
        if fit > MOST:
            said.append(f"These are the surest {MOST} of {fit:,}: as many as can be looked at in one go.")
        return " ".join(said)


def store_bulk(asked: Asked) -> object:
    """``POST bulk``: store as one what a dialog showed and a person confirmed; whatever is newer stays, and is told."""
    reviewer, store, audit = asked.writing().reviewer(), asked.store, asked.audit
    decision, batch = _decision(asked), asked.text("batch", longest=100)
    sent = [replace(each, force=False) for each in sent_by(asked, MOST)]
    receipts = store.decisions.append_seen(audit, sent, reviewer=reviewer, batch=batch)
    stored = sum(receipt.status == "stored" for receipt in receipts)
    background.tell(store, audit, stored)
    if stored:
        candidates_file.follow(store, audit)
    return {
        "stored": sum(receipt.status in ("stored", "known") for receipt in receipts),
        "sentence": in_words(receipts, decision),
    }


def in_words(receipts: Sequence[Receipt], decision: str) -> str:
    """What became of a bulk: how many were stored, who was faster where, what was refused."""
    stored = sum(receipt.status in ("stored", "known") for receipt in receipts)
    said = [f"{count_of(stored, 'picture')}: {_DONE[decision]}." if stored else "Nothing was stored."]
    faster = Counter(_who(receipt.newest) for receipt in receipts if receipt.status == "newer")
    for (name, taken_back), count in faster.items():
        stay = "it stays" if count == 1 else "they stay"
        as_it_is = "as it is" if count == 1 else "as they are"
        rest = f" and took it back: {stay} undecided" if taken_back else f": {stay} {as_it_is}"
        said.append(f"{name} decided {count:,} meanwhile{rest}.")
    refused = [receipt.reason for receipt in receipts if receipt.status == "refused"]
    if refused:
        said.append(f"{len(refused):,} {'was' if len(refused) == 1 else 'were'} refused: {refused[0]}.")
    return " ".join(said)


def _who(entry: Entry | None) -> tuple[str, bool]:
    """Who made an entry of the log, and whether it takes something back."""
    return ("", False) if entry is None else (entry.reviewer, entry.decision == "undo")


def _decision(asked: Asked) -> str:
    decision = asked.text("decision")
    if decision not in _SUMS:
        raise AskedWrongly(f"decision={decision!r} is unknown; choose one of {', '.join(_SUMS)}")
    return decision


def _parts(thought: Belief, label: str | None) -> tuple[float, float, float]:
    """The chances that this label is right, that it spoils a right one, and of neither; of None it is never right."""
    right = 0.0 if label is None else thought.of(label)
    own = thought.of(thought.given)
    return right, own, max(0.0, 1 - right - own)


def _said(label: str | None) -> tuple[str, str]:
    """The decision that follows a suggestion, and its new label; of none of the classes, removal."""
    return ("relabel", label) if label else ("remove", "")


def _first(parts: Sequence[float]) -> float:
    return parts[0] if parts else 0.0


def _percent(asked: Asked) -> int | None:
    above = asked.parameters.get("above")
    if above is None:
        return None
    if not isinstance(above, int) or not LEAST <= above < 100:
        raise AskedWrongly(f"above is a whole number from {LEAST} to 99")
    return above


ROUTES = [post("preview", preview), post("bulk", store_bulk)]
