"""Decisions and undos as the page sends them: stored once, never over what their author had not seen."""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from gradattn_core.belief import of_row
from gradattn_core.errors import StoreError
from gradattn_core.store.outbox import Sent
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables

SPAWN = multiprocessing.get_context("spawn")
FIRST, SECOND, THIRD = PATHS[:3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


@pytest.fixture
def copies(tmp_path: Path) -> Store:
    """A store in which the first and the third picture are the same under the same label."""
    store = Store(tmp_path)
    frames = tables(PATHS, suspects=6)
    frames["images"].loc[2, "content_hash"] = frames["images"]["content_hash"][0]
    store.audits.merge(audit_row(), frames)
    return store


def send(store: Store, *sent: Sent, reviewer: str = "ann", **how: Any) -> list[str]:
    return [receipt.status for receipt in store.decisions.append_seen("first", sent, reviewer=reviewer, **how)]


def log(store: Store) -> list[tuple[str, ...]]:
    """(id, path, decision, reviewer), oldest first."""
    page = store.decisions.page().iloc[::-1]
    return list(page[["decision_id", "path", "decision", "reviewer"]].itertuples(index=False, name=None))


def stands(store: Store) -> dict[str, str]:
    page = store.candidates.page("first", everything=True, decided="yes")
    return dict(zip(page["path"], page["reviewer"] + " " + page["decision"], strict=True))


def test_what_is_sent_again_is_stored_once_whoever_sends_it_and_whatever_came_between(store: Store) -> None:
    sent = Sent("1", FIRST, "relabel", "bald eagle", "sure")
    [receipt] = store.decisions.append_seen("first", [sent], reviewer="ann")
    assert (receipt.status, receipt.newest, receipt.stands) == ("stored", receipt.stands, receipt.newest)
    assert receipt.newest is not None and (receipt.newest.decision_id, receipt.newest.new_label) == ("1", "bald eagle")
    assert send(store, sent, sent) == ["known", "known"]
    store.decisions.append("first", FIRST, "keep", reviewer="bob")
    store.decisions.undo("first", FIRST, reviewer="bob")
    [receipt] = store.decisions.append_seen("first", [sent], reviewer="bob")
    assert receipt.status == "known" and receipt.newest is not None and receipt.stands is not None
    assert (receipt.newest.decision, receipt.newest.reviewer, receipt.stands.decision_id) == ("undo", "bob", "1")
    assert [row[1:] for row in log(store)] == [
        (FIRST, "relabel", "ann"),
        (FIRST, "keep", "bob"),
        (FIRST, "undo", "bob"),
    ]


def test_what_its_author_had_not_seen_is_newer_whoever_said_it(store: Store) -> None:
    assert send(store, Sent("b", FIRST, "keep"), reviewer="bob") == ["stored"]
    mine = Sent("a", FIRST, "remove", note="blurred")
    [receipt] = store.decisions.append_seen("first", [mine], reviewer="ann")
    assert receipt.status == "newer" and receipt.newest is not None and receipt.newest.reviewer == "bob"
    # The same person in another tab, and an undo, are newer as well.
    assert send(store, Sent("b2", FIRST, "unsure"), reviewer="bob", outbox="other tab") == ["newer"]
    undo = store.decisions.undo("first", FIRST, reviewer="bob")
    [receipt] = store.decisions.append_seen("first", [Sent("a", FIRST, "remove", seen="b")], reviewer="ann")
    assert receipt.status == "newer" and receipt.newest is not None and receipt.stands is None
    assert (receipt.newest.decision_id, receipt.newest.seen) == (undo, "b")
    assert stands(store) == {}
    # Sent again with the same id: once more seen, or by force.
    assert undo is not None and send(store, Sent("a", FIRST, "remove", seen=undo)) == ["stored"]
    assert send(store, Sent("b3", FIRST, "keep", force=True), reviewer="bob") == ["stored"]
    assert stands(store) == {FIRST: "bob keep"} and len(log(store)) == 4


def test_one_tab_may_decide_again_before_an_answer_came_and_copies_one_after_the_other(copies: Store) -> None:
    # In one call, in several from one tab, and with the ids of what was sent before.
    assert send(copies, Sent("1", FIRST, "keep"), Sent("2", THIRD, "remove")) == ["stored"] * 2
    assert send(copies, Sent("3", SECOND, "keep"), outbox="tab") == ["stored"]
    assert send(copies, Sent("4", SECOND, "unsure"), outbox="tab") == ["stored"]
    assert send(copies, Sent("5", SECOND, "remove", seen="4"), outbox="a new tab") == ["stored"]
    assert send(copies, Sent("6", SECOND, "keep", seen="4"), outbox="tab") == ["newer"]
    assert stands(copies) == {FIRST: "ann remove", SECOND: "ann remove", THIRD: "ann remove"}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (Sent("1", "elsewhere.jpg", "keep"), "this audit has no such picture"),
        (Sent("1", FIRST, "undo"), "'undo' is no decision"),
        (Sent("1", FIRST, "relabel"), "a relabel decision needs the new label"),
        (Sent("1", FIRST, "keep", "kite"), "belongs to a relabel decision"),
        (Sent("1", FIRST, "relabel", "kite"), "that is the label it has"),
        (Sent("", FIRST, "keep"), "needs an id of its own"),
        (Sent("1", FIRST, "keep", note="\ud800"), "half a character"),
        (Sent("\ud800", FIRST, "keep"), "half a character"),
        (Sent("1", "\ud800.jpg", "keep"), "half a character"),
    ],
)
def test_what_can_never_be_stored_is_refused_and_the_rest_is_stored(store: Store, sent: Sent, reason: str) -> None:
    receipts = store.decisions.append_seen("first", [sent, Sent("2", SECOND, "keep")], reviewer="ann")
    assert [receipt.status for receipt in receipts] == ["refused", "stored"] and reason in receipts[0].reason
    assert [row[0] for row in log(store)] == ["2"]


def test_a_nameless_reviewer_and_an_audit_that_is_gone_are_refused(store: Store) -> None:
    assert send(store, Sent("1", FIRST, "keep"), reviewer=" ") == ["refused"]
    with pytest.raises(StoreError, match="no audit 'gone'"):
        store.decisions.append_seen("gone", [Sent("1", FIRST, "keep")], reviewer="ann")
    assert log(store) == []


def test_undo_takes_back_what_is_shown_if_it_is_mine_else_my_last(store: Store) -> None:
    send(store, Sent("1", FIRST, "keep"), Sent("2", SECOND, "remove"), outbox="tab")
    undone = store.decisions.undo_last("first", "ann", "u1", FIRST, seen="1")
    assert (undone.status, undone.paths, undone.stands) == ("undone", (FIRST,), None)
    assert undone.undone is not None and (undone.undone.decision_id, undone.undone.decision) == ("1", "keep")
    # Nothing of mine on the screen: my last one, however often it is sent.
    for status in ("undone", "known", "known"):
        undone = store.decisions.undo_last("first", "ann", "u2", THIRD, seen="")
        assert (undone.status, undone.paths) == (status, (SECOND,))
        assert undone.undone is not None and undone.undone.decision_id == "2"
        assert undone.newest is not None and undone.newest.decision_id == "u2"
    assert store.decisions.undo_last("first", "ann", "u3", THIRD).status == "none"
    assert [row[0] for row in log(store)] == ["1", "2", "u1", "u2"]


def test_what_another_decided_is_taken_back_only_if_it_is_asked_for(store: Store) -> None:
    send(store, Sent("1", FIRST, "keep"))
    send(store, Sent("2", SECOND, "remove"), reviewer="bob")
    undone = store.decisions.undo_last("first", "ann", "u1", SECOND, seen="2")
    assert undone.status == "theirs" and undone.stands is not None and undone.stands.reviewer == "bob"
    # Bob was faster, and the screen does not show it: it is my last one that is meant.
    assert store.decisions.undo_last("first", "ann", "u2", SECOND, seen="").paths == (FIRST,)
    assert store.decisions.undo_last("first", "ann", "u3", SECOND, seen="", others=True).status == "newer"
    assert store.decisions.undo_last("first", "ann", "u4", SECOND, seen="2", others=True).paths == (SECOND,)
    assert stands(store) == {}


def test_what_i_decided_in_another_tab_is_not_taken_back_unseen(store: Store) -> None:
    send(store, Sent("1", FIRST, "keep"), outbox="tab")
    send(store, Sent("2", FIRST, "remove", seen="1"), outbox="other tab")
    undone = store.decisions.undo_last("first", "ann", "u1", FIRST, seen="1", outbox="tab")
    assert undone.status == "newer" and undone.stands is not None and undone.stands.decision_id == "2"
    assert store.decisions.undo_last("first", "ann", "u2", FIRST, seen="1", outbox="other tab").status == "undone"
    assert stands(store) == {FIRST: "ann keep"}
    # What another said and took back again hides nothing: mine is what stands and what is seen.
    store.decisions.append("first", FIRST, "unsure", reviewer="bob")
    store.decisions.undo("first", FIRST, reviewer="bob")
    assert store.decisions.undo_last("first", "ann", "u3", FIRST, seen="1").status == "undone"


def test_my_last_one_is_that_of_this_audit_which_still_stands(store: Store) -> None:
    store.audits.merge(audit_row("second"), tables(PATHS, suspects=6))
    for number, path in enumerate(PATHS[:5]):
        send(store, Sent(str(number), path, "keep"))
    store.decisions.append("first", PATHS[4], "remove", reviewer="bob")
    store.decisions.undo("first", PATHS[3], reviewer="cy")
    store.decisions.append("second", PATHS[9], "keep", reviewer="ann")
    assert store.decisions.undo_last("first", "ann", "u", None).paths == (PATHS[2],)


def test_what_was_decided_at_one_stroke_is_taken_back_at_one(copies: Store) -> None:
    sent = [Sent(f"a{number}", path, "remove") for number, path in enumerate(PATHS[:6])]
    assert set(send(copies, *sent, batch="bulk")) == {"stored"}
    copies.decisions.append("first", SECOND, "keep", reviewer="bob")
    undone = copies.decisions.undo_last("first", "ann", "u")
    # The two copies each; not the one about which bob said something since.
    assert undone.status == "undone" and undone.paths == (*PATHS[5:2:-1], THIRD, FIRST)
    assert stands(copies) == {SECOND: "bob keep"}
    again = copies.decisions.undo_last("first", "ann", "u")
    assert (again.status, again.paths) == ("known", undone.paths)
    # Of a bulk, one that is shown is taken back alone.
    sent = [Sent(f"b{number}", path, "remove", force=True) for number, path in enumerate(PATHS[:6])]
    assert set(send(copies, *sent, batch="more")) == {"stored"}
    assert copies.decisions.undo_last("first", "ann", "v", PATHS[4], seen="b4").paths == (PATHS[4],)
    assert len(copies.decisions.undo_last("first", "ann", "w").paths) == 5


def test_a_decision_keeps_what_was_proposed_when_it_was_made(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=6)
    chooser = np.random.default_rng(3)
    for name in ("given_probability", "suggested_probability", "runner_up_probability"):
        frames["scores"][name] = chooser.random(len(PATHS)) / 3
    frames["scores"]["outside_suspicion"] = frames["scores"]["suspicion"] * chooser.random(len(PATHS))
    frames["scores"]["suggested_label"] = "bald eagle"
    frames["scores"].loc[[1, 3], "suggested_label"] = ""
    frames["scores"].loc[4:6, "outside_suspicion"] = None
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    for learnt in (False, True):
        if learnt:
            store.review.rerank("first", PATHS, chooser.random(len(PATHS)), decisions=3, learnt_by="near")
        page = store.candidates.page("first", everything=True)
        store.decisions.append_many("first", PATHS, "keep", reviewer="ann")
        with duckdb.connect(store.database, read_only=True) as connection:
            rows: Any = connection.execute(
                """SELECT s.*, i.given_label, d.proposed_label, d.proposed_probability FROM scores s
                   JOIN images i USING (audit_id, path) JOIN decisions d USING (audit_id, path)
                   QUALIFY sequence = max(sequence) OVER (PARTITION BY path)"""
            ).df()
        assert set(rows["path"]) == set(page["path"])
        for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
            belief = of_row(row)
            assert row["proposed_label"] == row["suggested_label"]
            assert row["proposed_probability"] == pytest.approx(belief.of(row["suggested_label"]), abs=1e-12)
    store.decisions.undo("first", FIRST, reviewer="ann")
    with duckdb.connect(store.database, read_only=True) as connection:
        undo = connection.execute("SELECT proposed_label FROM decisions WHERE decision = 'undo'").fetchall()
    assert undo == [(None,)]


def test_what_people_made_of_suggestions_leaves_bulks_out(store: Store) -> None:
    page = store.candidates.page("first", everything=True).set_index("path")
    suggested = page["suggested_label"]
    paths = [path for path in PATHS if suggested[path] != path.split("/")[0]][:4]
    store.decisions.append("first", paths[0], "relabel", new_label=suggested[paths[0]], reviewer="ann")
    store.decisions.append("first", paths[1], "relabel", new_label="albatross or gull", reviewer="ann")
    store.decisions.append("first", paths[2], "unsure", reviewer="ann")
    assert send(store, Sent("1", paths[3], "relabel", suggested[paths[3]]), batch="bulk") == ["stored"]
    rows: Any = page.loc[paths[:3]].to_dict("records")
    beliefs = [of_row(row) for row in rows]
    made = store.proposals.followed("first")
    thought = [belief.of(row["suggested_label"]) for belief, row in zip(beliefs, rows, strict=True)]
    expected = sorted(zip(thought, [True, False, False], strict=True))
    assert sorted(made.chances) == pytest.approx([chance for chance, _ in expected])
    assert made.followed[np.argsort(made.chances)].tolist() == [followed for _, followed in expected]
    chances = store.proposals.of("first", paths=paths[:3])
    assert sorted(chances.suggested) == pytest.approx(sorted(made.chances))
    assert sorted(chances.given) == pytest.approx(sorted(belief.of(belief.given) for belief in beliefs))
    store.decisions.undo("first", paths[0], reviewer="bob")
    assert store.proposals.followed("first").followed.tolist() == [False, False]


class Naive:
    """The log as a list, and its rules once more, slowly."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def words(self, key: str) -> list[dict[str, str]]:
        stack: list[dict[str, str]] = []
        for row in self.rows:
            if row["key"] == key:
                stack.pop() if row["said"] == "undo" else stack.append(row)
        return stack

    def decide(self, key: str, said: str, who: str, name: str, seen: str, tab: str) -> str:
        if any(row["id"] == name for row in self.rows):
            return "known"
        about = [row for row in self.rows if row["key"] == key]
        if about and about[-1]["id"] != seen and about[-1]["tab"] != tab:
            return "newer"
        self.rows.append({"id": name, "key": key, "said": said, "who": who, "tab": tab})
        return "stored"

    def undo_last(self, who: str, name: str) -> str:
        if any(row["id"] == name for row in self.rows):
            return "known"
        for row in reversed(self.rows):
            words = self.words(row["key"])
            if row["who"] == who and row["said"] != "undo" and words and words[-1] is row:
                self.rows.append({"id": name, "key": row["key"], "said": "undo", "who": who, "tab": who})
                return "undone"
        return "none"


def test_a_random_hour_of_three_tabs_against_a_naive_log(copies: Store) -> None:
    chooser, naive = random.Random(5), Naive()
    key = {path: FIRST if path == THIRD else path for path in PATHS[:4]}
    held: dict[tuple[str, str], str] = {}
    names: list[str] = []
    for _ in range(150):
        who = chooser.choice(["ann", "bob", HOSTILE[3]])
        if names and chooser.random() < 0.15:
            name, names = chooser.choice(names), names
        else:
            name = str(uuid.UUID(int=chooser.getrandbits(128)))
            names.append(name)
        if chooser.random() < 0.25:
            status = copies.decisions.undo_last("first", who, name, outbox=who).status
            assert status == naive.undo_last(who, name)
            continue
        path, said = chooser.choice(PATHS[:4]), chooser.choice(["keep", "remove", "unsure"])
        seen = held.get((who, key[path]), "") if chooser.random() < 0.8 else "nothing of that name"
        [receipt] = copies.decisions.append_seen("first", [Sent(name, path, said, seen=seen)], reviewer=who, outbox=who)
        assert receipt.status == naive.decide(key[path], said, who, name, seen, who)
        if receipt.newest is not None:
            held[who, key[path]] = receipt.newest.decision_id
    assert [row[0] for row in log(copies)] == [row["id"] for row in naive.rows]
    expected = {path: naive.words(key[path]) for path in key}
    assert stands(copies) == {
        path: f"{words[-1]['who']} {words[-1]['said']}" for path, words in expected.items() if words
    }


def fight(folder: Path, reviewer: str, names: list[str]) -> None:
    """Send every decision twice, each from a store of its own, and once more with what came back as newest."""
    for number, name in enumerate(names):
        store = Store(folder, patience=120)
        sent = Sent(name, PATHS[number % 5], "keep", note=str(number))
        for _ in range(2):
            [receipt] = store.decisions.append_seen("first", [sent], reviewer=reviewer, outbox=reviewer)
        while receipt.status == "newer":
            assert receipt.newest is not None and receipt.newest.reviewer != reviewer
            sent = Sent(name, sent.path, "keep", note=str(number), seen=receipt.newest.decision_id)
            [receipt] = store.decisions.append_seen("first", [sent], reviewer=reviewer, outbox=reviewer)
        if number % 5 == 4:
            store.decisions.undo_last("first", reviewer, f"undo {name}", outbox=reviewer)


def test_many_that_were_decided_at_one_stroke_are_taken_back_as_one(store: Store) -> None:
    assert store.decisions.append_many("first", PATHS[:3], "remove", reviewer="ann", batch="stroke") == 3
    store.decisions.append("first", PATHS[1], "keep", reviewer="bob")
    assert store.decisions.append_many("first", PATHS[3:5], "keep", reviewer="bob") == 2
    assert store.decisions.decided("first", [*PATHS[:3], "nowhere.jpg"]) == PATHS[:3]
    undone = store.decisions.undo_last("first", "ann", "undo")
    # What somebody has said since stays; what was decided one by one is taken back one by one.
    assert (undone.status, sorted(undone.paths)) == ("undone", [PATHS[0], PATHS[2]])
    assert store.decisions.decided("first", PATHS[:3]) == [PATHS[1]]
    assert len(store.decisions.undo_last("first", "bob", "undo 2").paths) == 1


def test_three_processes_that_fight_over_five_pictures_lose_and_double_nothing(store: Store) -> None:
    names = {who: [f"{who} {number}" for number in range(20)] for who in ("ann", "bob")}
    # A second process sends ann's own decisions, as a tab does that was closed and opened again.
    processes = [SPAWN.Process(target=fight, args=(store.directory, who, names[who])) for who in ("ann", "bob", "ann")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    rows = log(store)
    assert len({name for name, *_ in rows}) == len(rows)
    kept = [row for row in rows if row[2] == "keep"]
    assert sorted(name for name, *_ in kept) == sorted([*names["ann"], *names["bob"]])
    with duckdb.connect(store.database, read_only=True) as connection:
        seen: Any = connection.execute("SELECT decision_id, path, seen, outbox FROM decisions ORDER BY sequence").df()
    for _, about in seen.groupby("path"):
        before, taken = about.shift(), about["decision_id"].str.startswith("undo")
        fair = (about["seen"] == before["decision_id"]) | (about["outbox"] == before["outbox"])
        assert fair[~taken].iloc[1:].all()


@pytest.mark.slow
def test_ten_decisions_a_second_are_stored_while_pages_are_read(store: Store) -> None:
    told, tell = SPAWN.Pipe(duplex=False)
    reader = SPAWN.Process(target=read_pages, args=(store.directory, told))
    reader.start()
    late = []
    begun = time.monotonic()
    for number in range(300):
        due = begun + number / 10
        time.sleep(max(due - time.monotonic(), 0))
        assert send(store, Sent(str(number), PATHS[number % 10], "keep"), outbox="tab") == ["stored"]
        late.append(time.monotonic() - due)
    tell.send(None)
    reader.join()
    assert reader.exitcode == 0 and len(log(store)) == 300
    # It keeps up: the last is no later than the others.
    assert float(np.median(late)) < 0.5 and late[-1] < 5


def read_pages(folder: Path, told: Any) -> None:
    store = Store(folder, patience=120, read_only=True)
    while not told.poll():
        assert len(store.candidates.page("first")) == 6
        time.sleep(0.05)
