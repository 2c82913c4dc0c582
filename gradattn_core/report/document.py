"""``gradattn report``: one HTML file that says what was audited, what was found, and how far it can be trusted.

Nothing in it is loaded from elsewhere, and no script runs: its policy forbids both. Every name is text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import pandas as pd

from gradattn_core.config import NO_MODEL
from gradattn_core.dataset.subset import about_part
from gradattn_core.elements import Markup, join, tag
from gradattn_core.estimates import agreement, percent
from gradattn_core.health import Health, health_of, review_sentence
from gradattn_core.kinds import KINDS, suggestion
from gradattn_core.report.suspects import Shown, shown
from gradattn_core.store.store import Store
from gradattn_core.verdict import Rich
from gradattn_core.wording import count_of, minute, sentence, short_name

_ROWS = 15
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_EYES = {
    "probe": "A frozen Vision Transformer turns each picture into features.",
    "finetune": "A Vision Transformer is fine-tuned fold by fold, and each picture is judged by one that never saw it.",
    "as-is": "A Vision Transformer turns each picture into features, and its own classifier says what it sees.",
    "brought": "Features or predictions that were made elsewhere say what each picture is like.",
}
"""What looks at the pictures, by head."""
_JUDGES = (
    "Several judges say how likely each class is, each out of sample: none has learnt from the label it judges. Their "
    "votes are joined, weighed by how well they foretell labels, with a model of how labels get wrong. The suspicion "
    "of a label is the probability that another one is right."
)
_TRUSTED = (
    "That predictions from elsewhere are out of sample is taken from whoever made them: a model that was trained on "
    "these labels knows wrong ones by heart."
)
_MAPS = (
    "A map says of every patch of the picture how much it moves the explained head’s answer between two classes, in "
    "log-odds. Where it adds up, its patches lead from the answer to an average picture to the answer to this one. "
    "What is called measured comes from hiding a part and asking the model again. A map explains the model that was "
    "asked, not the world; two maps cannot be compared in strength."
)
_NO_MAPS = "There was no model to ask, so there are no maps: nothing says which part of a picture speaks for what."
_LIMITS = (
    "What the model believes is no measurement: what every judge takes for right is in none of its sums, and its range "
    "says only how much depends on how people are assumed to mislabel. A random check measures, with an exact interval "
    "and the confidence that its sentence names.",
    "A picture that shows two classes has no single right label. A suspect is a question to a person: the audit "
    "changed nothing.",
)
_SETTINGS = ("head", "objective", "correction", "folds", "threshold", "in_sample", "precision", "device")


@dataclass(frozen=True, slots=True)
class Report:
    """The file, and how many suspects it shows of how many.

    Attributes:
        without_picture: suspects whose picture is gone, or another one now.
    """

    content: bytes
    suspects: int
    of: int
    without_picture: int


def report_of(store: Store, audit_id: str, *, top: int = 24) -> Report:
    """The report on a finished audit with its ``top`` most suspect images."""
    health = health_of(store, audit_id)
    frame = store.candidates.page(audit_id, top=top)
    suspects = shown(store, audit_id, frame)
    body = join(
        (
            _head(health),
            _in_short(health),
            _classes(health),
            _pairs(store.audits.class_pairs(audit_id)),
            _suspects(suspects, health.audit.suspects),
            _methods(health),
        )
    )
    style = files("gradattn_core.report").joinpath("report.css").read_text("utf-8")
    title = f"Label audit of {health.audit.dataset}"
    html = join(
        (
            Markup("<!doctype html>\n"),
            tag(
                "html",
                tag(
                    "head",
                    tag("meta", charset="utf-8"),
                    tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
                    tag("meta", name="viewport", content="width=device-width"),
                    tag("title", _clean(title)),
                    tag("style", Markup(style)),
                ),
                tag("body", tag("main", body)),
                lang="en",
            ),
            Markup("\n"),
        )
    )
    without = sum(each.picture is None for each in suspects)
    return Report(html.encode(), len(suspects), health.audit.suspects, without)


def _head(health: Health) -> Markup:
    audit = health.audit
    judge = " · ".join(filter(None, (audit.model, PurePath(audit.checkpoint).name, f"head {audit.head}")))
    facts = [
        ("Dataset", _name(audit.dataset)),
        ("Audited", f"{minute(audit.finished_at)} UTC"),
        ("Pictures", f"{audit.images:,} in {count_of(len(health.classes), 'class').replace('classs', 'classes')}"),
        ("Judged by", _name(judge)),
        ("Audit", _name(f"{audit.audit_id}, gradattn {audit.versions.get('gradattn', '')}".rstrip(", "))),
    ]
    return tag(
        "header",
        tag("p", "gradattn · label audit", class_="over"),
        tag("h1", "Which labels are wrong, and why"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )


def _in_short(health: Health) -> Markup:
    audit, check = health.audit, health.check
    measured = (
        "Nothing was checked at random, so nothing is measured; gradattn spot-check 100 measures."
        if check is None
        else sentence(check.sentence)
    )
    parts = [
        ("Suspects", f"{audit.suspects:,} of {count_of(audit.images, 'label')} are in doubt."),
        ("Believed by the model", f"{sentence(health.believed)} A range of assumptions, no confidence interval."),
        ("Measured by a random check", measured),
        ("Review", sentence(review_sentence(health.review).removeprefix("review: "))),
    ]
    if health.measured:
        parts.append(("Evidence", sentence(agreement(health.agreeing, health.measured))))
    notes = [tag("p", _clean(note), class_="note") for note in about_part(audit.warnings)]
    items = (tag("div", tag("dt", name), tag("dd", _clean(text))) for name, text in parts)
    return tag("section", tag("h2", "In short"), *notes, tag("dl", *items, class_="short"))


def _classes(health: Health) -> Markup:
    check = {} if health.check is None else {each.label: f"{each.low:,}–{each.high:,}" for each in health.check.classes}
    heads = ["Class", "Images", "Suspects", "Believed wrong", "Range", "Of its class", "Decided"]
    rows: list[list[str]] = []
    row: Any
    for row in health.classes.head(_ROWS).itertuples():
        wrong = row.wrong if row.wrong == row.wrong else 0.0
        cells = [_name(short_name(row.given_label)), f"{row.images:,}", f"{row.suspects:,}", f"{wrong:,.1f}"]
        cells.append(_or_empty(row.low, f"{row.low:,.1f}–{row.high:,.1f}"))
        cells += [percent(wrong / row.images, 1), f"{row.decided:,}"]
        rows.append([*cells, check.get(row.given_label, "")] if check else cells)
    more = len(health.classes) - _ROWS
    kinds = [[kind, f"{count:,}", KINDS.get(kind, "")] for kind, count in health.kinds.items()]
    return tag(
        "section",
        tag("h2", "Class by class"),
        _table([*heads, *(["Random check"] if check else [])], rows),
        tag("p", f"{more:,} more classes have less.", class_="quiet") if more > 0 else "",
        *([tag("h2", "Kinds of doubt"), _table(["Kind", "Suspects", "What it means"], kinds, (0, 2))] if kinds else []),
    )


def _pairs(pairs: pd.DataFrame) -> Markup:
    if pairs.empty:
        return Markup("")
    rows: list[list[str]] = []
    row: Any
    for row in pairs.head(_ROWS).itertuples():
        given, other = short_name(row.given_label), suggestion(short_name(row.suggested_label))
        cells = [_name(given), _name(other), f"{row.suspects:,}", _or_empty(row.expected, f"{row.expected:,.1f}")]
        cells += [_or_empty(row.share, percent(row.share, 1)), _or_empty(row.lift, f"{row.lift:.1f}×")]
        rows.append([*cells, f"{row.decided:,}"])
    more = len(pairs) - _ROWS
    heads = ["Filed as", "Looks like", "Suspects", "Believed wrong", "Of its class", "Lift", "Decided"]
    return tag(
        "section",
        tag("h2", "Which class is filed as which"),
        _table(heads, rows, (0, 1)),
        tag("p", f"{more:,} more pairs have less.", class_="quiet") if more > 0 else "",
    )


def _suspects(suspects: Sequence[Shown], of: int) -> Markup:
    if not of:
        return tag("section", tag("h2", "Suspects"), tag("p", "The audit found no label that it doubts."))
    if not suspects:
        return Markup("")
    which = f"The {len(suspects):,} most suspect of {of:,}" if len(suspects) < of else f"All {count_of(of, 'suspect')}"
    legend = tag(
        "p",
        "Red speaks for the given label, blue for the other class; each map has a scale of its own. Outlined parts are "
        "the strongest; hatched ones do the opposite of what the map says when they are hidden. The waterfall is in "
        "log-odds of the two classes.",
        class_="quiet",
    )
    return tag("section", tag("h2", which), legend, *map(_card, suspects), class_="suspects")


def _card(one: Shown) -> Markup:
    verdict = one.verdict
    chances = tag(
        "p",
        tag("span", _name(one.given[0]), f" {one.given[1]}", class_="given"),
        " · ",
        tag("span", _name(one.other[0]), f" {one.other[1]}", class_="other"),
        class_="chances",
    )
    said = ((verdict.reason, None), (verdict.notice, "note"), (verdict.remark, "quiet"), (one.stands, "stands"))
    facts = f"Rank {one.rank:,} · label wrong: {one.wrong}" + (f" · {one.kind}" if one.kind else "")
    map_ = "the map of this picture: red where the model sees the given label, blue where it sees the other class"
    return tag(
        "article",
        tag("h3", _rich(verdict.headline)),
        tag(
            "div",
            _picture(one.picture, f"the picture {one.path}", "picture"),
            _picture(one.map, map_, "picture"),
            tag(
                "div",
                _picture(one.waterfall, "how the model alone decides; its numbers stand below in words", "waterfall"),
                tag("p", _clean(f"No picture: {one.problem}"), class_="note") if one.problem else "",
                chances,
                *(tag("p", _rich(text), class_=kind) for text, kind in said if text),
            ),
            class_="pictures",
        ),
        tag("p", _clean(" ".join(one.numbers)), class_="numbers") if one.numbers else "",
        tag("p", facts, " · ", tag("code", _name(one.path)), class_="quiet"),
    )


def _methods(health: Health) -> Markup:
    audit = health.audit
    settings = {**audit.parameters, **audit.versions}
    brought = [name for name in ("probabilities", "logits", "features") if audit.parameters.get(name)]
    eyes = _EYES["brought"] if brought else _EYES.get(audit.head, _EYES["probe"])
    trusted = [_TRUSTED] if {"probabilities", "logits"} & set(brought) else []
    maps = _NO_MAPS if audit.parameters.get("model") == NO_MODEL else _MAPS
    # What was left to the program says nothing.
    named = {name: str(settings[name]) for name in _SETTINGS if settings.get(name) not in (None, "", "auto")}
    told = [[name.replace("_", " "), _clean(value)] for name, value in named.items()]
    not_judged = [
        f"{group.files:,} {group.ending or 'without an ending'}"
        + (f" of {group.given_label}" if group.given_label else "")
        + f": {group.reason}"
        for group in health.not_judged
    ]
    return tag(
        "section",
        tag("h2", "Methods and limits"),
        *(tag("p", text) for text in (f"{eyes} {_JUDGES}", *trusted, maps, *_LIMITS)),
        *([tag("h3", "Notes of this audit"), _list(audit.warnings)] if audit.warnings else []),
        *([tag("h3", "Not judged"), _list(not_judged)] if not_judged else []),
        *([tag("h3", "Settings"), _table(["Setting", "Value"], told, (0, 1))] if told else []),
        class_="methods",
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> Markup:
    """A table; the columns ``words`` are text, all others numbers."""

    def line(cells: Sequence[str], kind: str) -> Markup:
        return tag("tr", *(tag(kind, cell, class_=None if at in words else "n") for at, cell in enumerate(cells)))

    table = tag("table", tag("thead", line(heads, "th")), tag("tbody", *(line(row, "td") for row in rows)))
    return tag("div", table, class_="wide")


def _list(texts: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", _clean(text)) for text in texts))


def _picture(content: bytes | None, alt: str, kind: str) -> Markup:
    if content is None:
        return Markup("")
    form = "png" if content.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{form};base64,{base64.b64encode(content).decode()}"
    return tag("img", src=source, alt=_clean(alt), class_=kind)


def _rich(text: Rich) -> Markup:
    return join(tag("span", _name(piece), class_=role) if role else _clean(piece) for piece, role in text)


def _name(text: str) -> Markup:
    """A label, a path or a reviewer's name: it keeps its own direction of writing and turns nothing else round."""
    return tag("bdi", _clean(text))


def _clean(text: str) -> str:
    """Without the characters that no text of HTML may hold."""
    return text if isinstance(text, Markup) else _CONTROLS.sub("\ufffd", text)


def _or_empty(number: float, text: str) -> str:
    return text if number == number else ""
