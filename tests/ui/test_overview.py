"""The overview without a browser: its numbers, its figures, and where its links lead."""

from __future__ import annotations

import math
import re
from html import unescape
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import duckdb
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core import outfolder
from gradattn_core.estimates import percent
from gradattn_core.ranking.certainty import hypergeometric_interval
from gradattn_core.store.proof import no_proof
from gradattn_core.store.store import Store
from gradattn_core.store.tally import ClassTally, PairTally, Tally
from gradattn_core.wording import names_of
from tests.helpers import pictured_audit
from tests.helpers.app_pages import opened, texts
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, copied_store, path_of
from ui import components
from ui.overview import confusion, goal, how_many
from ui.shorten import shortened

SUSPICIONS = [1 - index / 50 for index in range(40)]
CLIENT = Path(components.__file__).parent / "client"


def panels(app: AppTest) -> ElementTree.Element:
    [found] = [part.proto.body for part in app.get("html") if part.proto.body.startswith('<div class="panels"')]
    return ElementTree.fromstring(re.sub(r"<img([^>]*)>", r"<img\1/>", found))


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def part(app: AppTest, name: str) -> ElementTree.Element:
    return next(each for each in panels(app) if f" {name} " in f" {each.get('class')} ")


def headline(app: AppTest) -> str:
    [title] = panels(app).iter("h1")
    return words(title)


def table_of(app: AppTest, column: str) -> list[dict[str, str]]:
    """The rows of the table of ``components.table`` with that column."""
    for each in app.get("html"):
        body = each.proto.body
        if body.startswith('<div class="gradattn-table"') and f">{column}</th>" in body:
            rows = [[words(cell) for cell in row] for row in ElementTree.fromstring(body).iter("tr")]
            return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    raise AssertionError(f"no table has {column}")


def begin(store: Store) -> None:
    """A review with an end, up to its first random page; no label was wrong."""
    if not store.draws.count(AUDIT_ID):
        store.draws.spot_check(AUDIT_ID, 10, seed=2)
        store.decisions.append_many(AUDIT_ID, store.draws.waiting(AUDIT_ID), "keep", reviewer="Ada")
    for _ in range(2):
        _, page = store.draws.next_page(AUDIT_ID, 0.01, seed=1)
        if not store.tally.rule_runs(AUDIT_ID):
            store.decisions.append_many(AUDIT_ID, page, "keep", reviewer="Ada")
    assert store.tally.rule_runs(AUDIT_ID)


def test_all_numbers_follow_the_decisions_and_agree(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="owl", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(2), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(20), "unsure", reviewer="Ada")
    app = opened()
    suspects, others = sum(SUSPICIONS[3:12]), sum(SUSPICIONS[12:]) - SUSPICIONS[20]
    believed = 2 + suspects + others
    assert headline(app) == f"2 found; about {believed:.0f} in all, the audit believes"
    first = words(panels(app)[0])
    assert f"about {round(suspects) + round(others)} more: {suspects:.0f} among the 9 undecided suspects" in first
    assert "1 unsure is not counted" in first
    assert "4 of 40 reviewed" in first
    assert "2 found +9 undecided" in words(part(app, "confusion"))
    assert f"Together {suspects:.1f}" in words(part(app, "look-first"))
    assert "One class has fewer than 5 images: <b>x</b>" in texts(app)


@pytest.mark.parametrize(("expected", "elsewhere"), [(25.4, 1.4), (101.5, 0.9), (0.5, 0.4), (3.6, 0.1), (2.5, 0.0)])
def test_what_is_found_and_expected_adds_up_to_the_headline_as_printed(expected: float, elsewhere: float) -> None:
    tally = Tally((ClassTally("owl", 500, 9, 7, 0, 80, expected, elsewhere),), (), {}, math.nan, math.nan)
    facts = how_many.HowMany(tally, None, None, 12.0)
    total = re.search(r"about (\d+) in all", facts.headline)
    parts = re.search(r"about (\d+) more: (\d+) among the 80 undecided suspects, (\d+) elsewhere", facts.lead)
    assert total and parts
    more, among, rest = map(int, parts.groups())
    assert int(total[1]) == 7 + more == 7 + among + rest
    assert abs(among - expected) <= 0.5 and abs(rest - elsewhere) < 1


def test_a_page_that_is_read_only_offers_no_check_and_no_goal_to_begin(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.candidates.count(AUDIT_ID)
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    links = [words(each) for panel in list(panels(opened()))[:2] for each in panel.iter("a")]
    assert "Review suspects" in links
    assert not any(each.startswith(("Check", "Begin", "Review the next")) for each in links)


def test_suspects_that_were_all_right_leave_no_wrong_labels_among_them(store: Store) -> None:
    store.decisions.append_many(AUDIT_ID, [path_of(index) for index in range(12)], "keep", reviewer="Ada")
    app = opened()
    assert headline(app) == f"About {sum(SUSPICIONS[12:]):.0f} labels may be wrong"
    assert "0 among the 0 undecided suspects" in words(panels(app)[0])
    assert [each.get("class") for each in panels(app)] == ["panel", "panel goal"]


def test_a_random_check_is_said_with_its_exact_interval_until_a_rule_runs(store: Store) -> None:
    for path in store.draws.spot_check(AUDIT_ID, 10, seed=2).paths:
        store.decisions.append(AUDIT_ID, path, "keep", reviewer="Ada")
    low, high = hypergeometric_interval(40, 10, 0)
    app = opened()
    assert headline(app) == f"0 found; between {low} and {high} in all"
    assert "A review that ends" in words(part(app, "goal"))
    begin(store)
    until = store.draws.until(AUDIT_ID, 0.01)
    app = opened()
    assert headline(app) == f"{until.wrong} found; between {until.low} and {until.wrong + until.high} in all"
    assert store.draws.checked(AUDIT_ID) is not None and "Random check" not in words(panels(app)[0])
    assert f"At most {until.high} left" in words(part(app, "goal"))


def test_the_goal_leads_to_the_next_page_and_its_plot_says_what_it_shows(store: Store) -> None:
    begin(store)
    until = store.draws.until(AUDIT_ID, 0.02)
    panel = part(opened(left="2"), "goal")
    [button] = [link for link in panel.iter("a") if "button" in str(link.get("class"))]
    assert urlsplit(str(button.get("href"))).path == "review"
    assert parse_qs(urlsplit(str(button.get("href"))).query) == {"list": ["until"], "left": ["2"]}
    [plot] = panel.iter("img")
    assert f"{until.wrong} wrong labels were found" in str(plot.get("alt"))
    assert f"at most {until.wrong + until.high} in all" in str(plot.get("alt"))


def test_an_audit_without_suspects_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = copied_store(tmp_path)
    with duckdb.connect(str(store.database)) as connection:
        connection.execute("UPDATE scores SET is_suspect = false")
        connection.execute("UPDATE audits SET suspects = 0")
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    components.audits.clear()
    app = opened()
    assert headline(app) == "No suspects"
    assert "The audit looked at 40 pictures and found no label it doubts. That is no proof:" in words(panels(app)[0])


def test_what_proves_something_is_an_exact_bound() -> None:
    high = hypergeometric_interval(1797, 150, 0)[1] / 1797
    assert f"150 random reviews would show that at most {percent(high, 1)} of the labels are wrong" in no_proof(1797)
    # Of few pictures nothing short of all of them proves anything that is worth a number.
    assert no_proof(40) == "That is no proof: only a look at all 40 pictures would be one."
    assert no_proof(0) == "There is no picture to check."


def test_draws_also_prove_how_many_are_wrong_at_least(store: Store) -> None:
    drawn = store.draws.spot_check(AUDIT_ID, 10, seed=2).paths
    store.decisions.append_many(AUDIT_ID, drawn, "remove", reviewer="Ada")
    begin(store)
    until = store.draws.until(AUDIT_ID, 0.01)
    assert until.wrong < until.low <= until.wrong + until.high, "all that was drawn was wrong"
    app = opened()
    assert headline(app) == f"{until.wrong} found; between {until.low} and {until.wrong + until.high} in all"
    assert f"Between {until.low - until.wrong} and {until.high} left" in words(part(app, "goal"))
    assert "with 95% confidence, from all random draws" in words(panels(app)[0])
    store.decisions.append(AUDIT_ID, store.draws.waiting(AUDIT_ID)[0], "unsure", reviewer="Ada")
    assert "with 95% confidence for each end" in words(panels(opened())[0])


def test_an_audit_that_is_at_work_is_said_above_the_numbers(store: Store) -> None:
    with outfolder.lock(str(store.directory)):
        assert "An audit has begun: it is looking through the dataset." in texts(opened())
    assert not any("An audit has begun" in text for text in texts(opened()))


def test_the_table_has_each_pair_once_with_its_row_totals_and_leads_to_it(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="owl", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Ada")
    panel = part(opened(), "confusion")
    rows = [list(row) for row in panel.iter("tr")]
    assert words(rows[0][-2]) == "none of these"
    found = {words(row[0]): [words(cell) for cell in row[1:]] for row in rows[1:]}
    # Of a long one what is shown and, for those who hear it, the whole.
    assert set(found) == {words_of(name) for name in CLASSES}
    tally = store.tally.of(AUDIT_ID)
    totals = {
        pair.given: sum(each.undecided for each in tally.pairs if each.given == pair.given) for pair in tally.pairs
    }
    assert found["kite"][-1] == f"1 found +{totals['kite']} undecided"
    links = [parse_qs(urlsplit(str(link.get("href"))).query, keep_blank_values=True) for link in panel.iter("a")]
    pairs = {(query["given"][0], query.get("suggested", [""])[0]) for query in links}
    assert pairs == {(pair.given, pair.other) for pair in tally.pairs} and len(links) == len(pairs)


def words_of(name: str) -> str:
    short = shortened(name, beside=CLASSES)
    return " ".join((name if short == name else short + name).split())


def test_classes_come_by_what_is_expected_among_their_undecided_and_kinds_lead_to_the_grid(store: Store) -> None:
    panel = part(opened(), "look-first")
    rows = [[words(cell) for cell in row] for row in panel.iter("tr")][1:]
    classes = [each for each in store.tally.of(AUDIT_ID).classes if each.undecided]
    assert [float(row[4]) for row in rows] == sorted((round(each.expected, 1) for each in classes), reverse=True)
    assert rows[0][5].startswith(f"Review {classes[0].undecided} filed as")
    links = [str(link.get("href")) for link in panel.iter("a")]
    assert parse_qs(urlsplit(links[0]).query) == {"given": [classes[0].label]}
    grids = [parse_qs(urlsplit(href).query)["kind"][0] for href in links if href.startswith("grid")]
    assert grids == list(store.tally.of(AUDIT_ID).kinds)


def test_nobody_is_sent_to_a_finished_class_until_it_is_opened_again(store: Store) -> None:
    app = opened()
    app.multiselect(key=f"finished-{AUDIT_ID}").select("kite").run()
    assert [(each.given_label, each.reviewer) for each in store.finished.all(AUDIT_ID)] == [("kite", "Ada")]
    panel = part(app, "look-first")
    assert "1 finished: kite" in words(panel) and "filed as kite" not in words(panel)
    app.multiselect(key=f"finished-{AUDIT_ID}").unselect("kite").run()
    assert not store.finished.all(AUDIT_ID) and "filed as kite" in words(part(app, "look-first"))


def test_beyond_twenty_classes_the_pairs_come_first_and_then_the_densest_part() -> None:
    count = 100
    names = [f"class {index:03d}" for index in range(count)]
    chain = [PairTally(one, other, 1, 0, 0.0) for one, other in zip(names, names[1:] + names[:1], strict=True)]
    rows, columns = confusion.densest(chain)
    assert (rows, columns) == (set(names[: confusion.CLASSES]), set(names[1 : confusion.CLASSES + 1]))
    star_rows, star_columns = confusion.densest([PairTally("owl", name, 1, 0, 0.0) for name in names])
    assert (star_rows, star_columns) == ({"owl"}, set(names[: confusion.CLASSES]))


def test_a_table_of_hostile_labels_is_text(store: Store) -> None:
    app = opened()
    bodies = [each.proto.body for each in app.get("html")]
    for label in HOSTILE_LABELS[:3]:
        assert any(label in unescape(body) for body in bodies)
    assert not [body for body in bodies if "<b>x" in body]
    written = [element.value for group in (app.markdown, app.caption) for element in group]
    assert not [text for text in written if any(label in text for label in HOSTILE_LABELS)]


def test_ids_are_in_tooltips_alone() -> None:
    tench, springer = labels = ["n01440764", "n02102040"]
    table = confusion.table([PairTally(tench, springer, 2, 1, 0.5)], labels, labels, names_of(labels))
    drawn = ElementTree.fromstring(table)
    assert "n0" not in words(drawn) and "tench" in words(drawn)
    assert {each.get("title") for each in drawn.iter("bdi")} == {"tench · n01440764", "English springer · n02102040"}


@pytest.mark.parametrize(("most", "ticks"), [(0.5, 6), (7, 8), (99, 6), (236, 6), (1_000_000, 6)])
def test_an_axis_has_a_few_whole_numbers_and_reaches_its_end(most: float, ticks: int) -> None:
    found = how_many.axis(most)
    assert found[0] == 0 and found[-1] >= most and len(found) <= max(ticks, 8)
    assert len({after - before for before, after in pairwise(found)}) == 1


def test_the_plot_has_the_colours_of_the_clients() -> None:
    blocks = re.findall(r"^:root[^{]*\{(.*?)^\}", (CLIENT / "tokens.css").read_text("utf-8"), re.M | re.S)
    for theme, block in zip(("light", "dark"), blocks, strict=False):
        tokens = dict(re.findall(r"--([\w-]+): (#\w+);", block))
        assert goal.COLOURS[theme] == {"found": tokens["primary"], "most": tokens["amber"], "rule": tokens["line"]}


def test_failures_are_listed(store: Store) -> None:
    app = opened()
    rows = [(row["path"], row["stage"]) for row in table_of(app, "reason")]
    assert rows == [("<i>broken</i>.png", "decode"), (path_of(3), "interpret")]
    # A suspect without a map was judged, so it is in no group.
    groups = [(row["files"], row["ending"], row["stage"], row["why"]) for row in table_of(app, "why")]
    assert groups == [("1", ".png", "decode", "it ends too early")]


def test_the_history_tells_what_changed_since_the_audit_before(store: Store, tmp_path: Path) -> None:
    assert not any("new_suspects" in frame.value.columns for frame in opened().dataframe)
    pictured_audit.pictured_store(tmp_path, audit_id="20261121-000000-older", images=30, suspects=9)
    components.audits.clear()
    [history] = [pd.DataFrame(each.value) for each in opened().dataframe if "new_suspects" in each.value.columns]
    # Both audits finished at the same moment; the greater id counts as the newer one.
    assert history["images"].tolist() == [40, 30]
    assert history[["new_suspects", "gone_suspects", "new_images", "gone_images"]].iloc[0].tolist() == [3, 0, 10, 0]
    assert history[["new_suspects", "gone_suspects"]].iloc[1].isna().all()


@pytest.mark.parametrize("typed", ["", "many", "-1", "nan", "200"])
def test_a_goal_that_is_none_is_the_usual_one(store: Store, typed: str) -> None:
    assert "until at most 1% is left" in words(part(opened(left=typed), "goal"))
    assert math.isclose(goal.SHARES[2], 0.01)


def test_of_very_many_pictures_the_goal_is_offered_without_a_forecast() -> None:
    panel = ElementTree.fromstring(goal.offer(1_000_000, 0.01))
    assert "until at most 1% is left (10,000 labels)" in words(panel)
    [button] = panel.iter("a")
    assert parse_qs(urlsplit(str(button.get("href"))).query) == {"list": ["until"], "left": ["1"]}
