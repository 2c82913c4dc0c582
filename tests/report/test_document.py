"""The report: self-contained, escaped, and with the very numbers and sentences of summary and page."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from gradattn_core.cli import main
from gradattn_core.reasons import account
from gradattn_core.report.document import report_of
from gradattn_core.report.suspects import picture_at, shown
from gradattn_core.store.store import Store
from gradattn_core.verdict import in_words
from tests.helpers.command_line import json_here, run_here
from tests.helpers.hostile import HOSTILE
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, MISSING, copied_store, path_of, pictured_store
from tests.helpers.sample_audit import PATHS, audit_row, tables
from ui.api.suspect import suspects


class Read(HTMLParser):
    """What a browser would see of the file: its text, and every element with its attributes."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._in = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return copied_store(tmp_path)


def test_nothing_is_loaded_and_no_name_becomes_an_element(store: Store) -> None:
    content = report_of(store, AUDIT_ID, top=7).content
    read = Read(content)
    assert {tag for tag, _ in read.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "article", "div", "span"),
        *("h1", "h2", "h3", "p", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"),
        *("img", "bdi", "code"),
    }
    assert {name for _, attributes in read.elements for name in attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "src", "alt"),
    }
    sources = [str(attributes["src"]) for tag, attributes in read.elements if tag == "img"]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert b"url(" not in content and b"@import" not in content
    policy = next(attributes["content"] for _, attributes in read.elements if attributes.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for label in CLASSES:
        assert label in read.text


def test_its_numbers_are_those_of_the_summary(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="ann")
    store.draws.spot_check(AUDIT_ID, 10, seed=1)
    for path in store.draws.waiting(AUDIT_ID):
        store.decisions.append(AUDIT_ID, path, "keep", reviewer="ann")
    text = Read(report_of(store, AUDIT_ID, top=0).content).text
    _, told = run_here("summary", out=store.directory)
    words = " ".join(text.split())
    for line in told.splitlines()[1:5]:
        # The same sentences, but for their first letter and the stop at their end.
        assert line.removeprefix("review: ").strip()[1:].rstrip(".") in words, line
    facts = json_here("summary", out=store.directory)
    assert f"{facts['suspects']} of {facts['images']} labels are in doubt" in words
    for row in facts["classes"]:
        cells = [row["given_label"], row["images"], row["suspects"], f"{row['wrong']:.1f}"]
        cells += [f"{row['low']:.1f}–{row['high']:.1f}", f"{100 * row['wrong'] / row['images']:.1f}%", row["decided"]]
        assert "".join(map(str, cells)) in text
    for pair in json_here("pairs", out=store.directory):
        assert f"{pair['suspects']}{pair['expected']:.1f}{100 * pair['share']:.1f}%{pair['lift']:.1f}×" in text


def test_its_suspects_are_told_as_on_the_page(store: Store) -> None:
    frame = store.candidates.page(AUDIT_ID)
    page = suspects(store, AUDIT_ID, frame.to_dict("records"), "ann")  # type: ignore[arg-type]
    for one, there in zip(shown(store, AUDIT_ID, frame), page, strict=True):
        assert (one.verdict.headline, one.verdict.reason) == (there.headline, there.reason)
        assert (one.verdict.notice, one.path, one.rank) == (there.notice, there.path, there.rank)
        of_page = {each.name: each.text for each in there.classes}
        assert of_page[one.given[0]] == one.given[1] and of_page[one.other[0]] == one.other[1]
        assert f"label wrong: {one.wrong}" in there.facts
        if there.map is not None and there.map.waterfall:
            evidence = store.images.evidence(AUDIT_ID, one.path)
            assert evidence is not None and (numbers := account(evidence)) is not None
            assert [step.text for step in numbers.steps(("red", "blue"))] == [bar.text for bar in there.map.waterfall]
            assert all(bar.text.lstrip("+−") in one.numbers[0] for bar in there.map.waterfall)
            assert one.waterfall is not None
        else:
            assert one.waterfall is None and (one.numbers or there.no_map)


def test_what_was_decided_stands_beside_the_verdict(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(1), "relabel", new_label="kite", reviewer="<i>ann</i>")
    read = Read(report_of(store, AUDIT_ID, top=3).content)
    assert "Decided by <i>ann</i>: kite instead of owl" in read.text
    answer = json_here("report", "-o", store.directory / "r.html", "--top", "2", out=store.directory)
    assert answer["suspects"] == 2 and answer["bytes"] == (store.directory / "r.html").stat().st_size


def test_pictures_are_the_audit_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = pictured_store(tmp_path, images=12, suspects=6)
    pictures = tmp_path / "pictures"
    Image.new("RGB", (50, 50), "red").save(pictures / path_of(0))
    frame = store.candidates.page(AUDIT_ID)
    told = {one.path: one for one in shown(store, AUDIT_ID, frame)}
    assert told[path_of(0)].problem == "the file has changed since the audit" and told[path_of(0)].picture is None
    assert "gone.png" in told[MISSING].problem
    for row in (1, 2, 3, 5):
        one, original = told[path_of(row)], Image.open(pictures / path_of(row))
        assert one.picture is not None
        drawn = Image.open(io.BytesIO(one.picture))
        assert max(drawn.size) == 360
        assert drawn.width / drawn.height == pytest.approx(original.width / original.height, rel=0.01)
        assert (one.map is None) == (row == 3)
    [place] = store.images.places(AUDIT_ID, [path_of(2)])
    assert picture_at(place).size == (32, 32)
    picture_at(place).resize((8, 8)).save(tmp_path / "kept.png")
    assert picture_at(replace(place, preview=tmp_path / "kept.png")).size == (32, 32)
    assert main(["report", "-o", str(tmp_path / "r.html"), "--out", str(store.directory)]) == 0
    assert "2 of their pictures are gone, or are others now" in capsys.readouterr().out
    embedded = [
        base64.b64decode(str(attributes["src"]).partition(",")[2])
        for tag, attributes in Read((tmp_path / "r.html").read_bytes()).elements
        if tag == "img" and attributes["class"] == "picture"
    ]
    assert told[path_of(1)].picture in embedded and len(embedded) == 4 + 3


def test_hostile_names_are_text(tmp_path: Path) -> None:
    markup = [label for label in HOSTILE if "<" in label or "\x00" in label or "\u202e" in label]
    labels = [label for label in markup if len(label) < 1000]
    store = pictured_store(tmp_path, images=len(labels), suspects=len(labels), classes=labels)
    content = report_of(store, AUDIT_ID, top=len(labels)).content
    read = Read(content)
    assert "script" not in {tag for tag, _ in read.elements} and "\x00" not in content.decode()
    assert "<script>alert(1)</script>" in read.text and "onerror" not in {n for _, each in read.elements for n in each}


def test_how_many_are_shown_is_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "The 3 most suspect of 12" in Read(report_of(store, AUDIT_ID, top=3).content).text
    text = Read(report_of(store, AUDIT_ID, top=0).content).text
    assert "12 of 40 labels are in doubt" in text
    assert "no label that it doubts" not in text and "most suspect" not in text
    assert main(["report", "-o", "r.html", "--top", "-1", "--out", str(store.directory)]) == 2
    assert "give 0 or more" in capsys.readouterr().err


def test_an_audit_without_suspects_has_a_report(tmp_path: Path) -> None:
    store = Store(tmp_path)
    frames = tables(PATHS, suspects=0)
    empty = {name: frames[name].iloc[:0] for name in ("class_pairs", "neighbours") if name in frames}
    frames = {name: frame for name, frame in frames.items() if name not in ("interpretations", "regions")} | empty
    store.audits.merge(audit_row(suspects=0), frames)
    text = Read(report_of(store, "first").content).text
    assert "0 of 10 labels are in doubt" in text and "found no label that it doubts" in text


def test_it_says_what_judged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    frames = tables(PATHS, suspects=6, interpreted=1)
    brought = {"model": "none", "probabilities": "/data/of/mine/p.npy"}
    for audit_id, head, parameters in (
        ("probed", "probe", {"folds": 5, "device": "auto"}),
        ("tuned", "finetune", {}),
        ("brought", "as-is", brought),
    ):
        row = audit_row(audit_id, head=head, parameters=parameters, checkpoint="/home/me/weights.pt")
        store.audits.merge(row, frames)
    probed, tuned, of_mine = (
        Read(report_of(store, audit_id, top=0).content).text for audit_id in ("probed", "tuned", "brought")
    )
    assert "A frozen Vision Transformer" in probed and "A map says of every patch" in probed
    assert "folds5" in probed and "auto" not in probed and "/home/me" not in probed and "weights.pt" in probed
    assert "fine-tuned fold by fold" in tuned and "frozen" not in tuned
    assert "made elsewhere" in of_mine and "out of sample is taken from whoever made them" in of_mine
    assert "no model to ask, so there are no maps" in of_mine and "A map says" not in of_mine
    assert "Transformer" not in of_mine


def test_the_headline_is_the_page_s(store: Store) -> None:
    one = shown(store, AUDIT_ID, store.candidates.page(AUDIT_ID, top=1))[0]
    assert in_words(one.verdict.headline) == "Not kite. Perhaps owl, perhaps <b>x</b>"
