"""Decisions and undos as clients send them: stored once, under the right name, never over what nobody had seen."""

from __future__ import annotations

import threading
from typing import Any

import duckdb
import pytest

from gradattn_core import outfolder
from gradattn_core.csv_tables import read_candidates
from gradattn_core.store.schema import MIGRATIONS
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.own_routes import Client
from tests.helpers.pictured_audit import AUDIT_ID, make_copies, path_of
from ui import candidates_file


def one(number: int, decision: str = "keep", **more: object) -> dict[str, object]:
    return {"id": f"id-{number}", "path": path_of(number), "decision": decision} | more


def sent(client: Client, *decisions: dict[str, object], **more: object) -> list[Any]:
    results: list[Any] = client.post("decisions", decisions=list(decisions), **more)["results"]
    return results


def test_the_same_decision_is_stored_once_however_often_it_is_sent(client: Client, store: Store) -> None:
    batch = [one(0), one(1, "relabel", new_label="osprey", note="a\nnote"), one(2, "unsure", new_label="")]
    answers = [sent(client, *batch) for _ in range(3)]
    assert [[result["status"] for result in answer] for answer in answers] == [["stored"] * 3] + [["known"] * 3] * 2
    assert store.decisions.count() == 3
    newest = answers[0][1]["newest"]
    assert (newest["id"], newest["name"], newest["note"], newest["mine"]) == ("id-1", "osprey", "a\nnote", True)


def test_many_tabs_sending_the_same_at_once_store_it_once(client: Client, store: Store) -> None:
    threads = [threading.Thread(target=sent, args=(client, one(0), one(1))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.decisions.count() == 2


def test_what_somebody_decided_meanwhile_is_not_overwritten(client: Client, store: Store) -> None:
    sent(client, one(0, "remove") | {"id": "bob"}, reviewer="Bob")
    [result] = sent(client, one(0, seen=""))
    assert (result["status"], result["newest"]["reviewer"], result["newest"]["mine"]) == ("newer", "Bob", False)
    assert store.decisions.count() == 1
    [result] = sent(client, one(0, seen=result["newest"]["id"]))
    assert result["status"] == "stored"
    assert (
        sent(client, one(0, "unsure", seen="") | {"id": "forced", "force": True}, reviewer="Cy")[0]["status"]
        == "stored"
    )


def test_the_list_in_the_output_folder_follows(client: Client, store: Store) -> None:
    def listed() -> tuple[str, str]:
        # What is due within a second is due now.
        candidates_file.write_all()
        row = read_candidates(outfolder.candidates(store.directory)).set_index("path").loc[path_of(0)]
        return str(row["decision"]), str(row["note"])

    sent(client, one(0, "unsure", note="dark"))
    assert listed() == ("unsure", "dark")
    client.post("undo", id="an-undo", path=path_of(0))
    assert listed() == ("", "")


def test_a_page_that_ends_amid_the_writing_of_the_list_waits_for_it(store: Store) -> None:
    path = path_of(0)
    follower = candidates_file.Follower(store, AUDIT_ID)
    store.decisions.append(AUDIT_ID, path, "unsure", reviewer="ann")
    follower.decided()
    # Nobody else may read meanwhile: the writer waits, with the timer spent.
    with duckdb.connect(str(store.database)):
        writer = threading.Thread(target=follower.write)
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        ending = threading.Thread(target=follower.write)
        ending.start()
        ending.join(0.2)
        assert ending.is_alive()
    writer.join()
    ending.join()
    assert read_candidates(outfolder.candidates(store.directory)).set_index("path")["decision"][path] == "unsure"


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        ({"path": "no such picture"}, "this audit has no such picture"),
        ({"decision": "delete"}, "is no decision"),
        ({"decision": "relabel"}, "needs the new label"),
        ({"new_label": "owl"}, "belongs to a relabel decision"),
        ({"id": ""}, "needs an id of its own"),
        ({"id": "x" * 101}, "needs an id of its own"),
    ],
    ids=range(6),
)
def test_one_that_can_never_be_stored_holds_up_no_other(
    client: Client, store: Store, decision: dict[str, object], says: str
) -> None:
    results = sent(client, one(0) | decision, one(1))
    assert [result["status"] for result in results] == ["refused", "stored"] and says in results[0]["reason"]
    assert store.decisions.count() == 1


def test_names_and_notes_are_kept_as_they_are(client: Client, store: Store) -> None:
    for number, text in enumerate(HOSTILE[:12]):
        sent(client, one(number, note=text) | {"id": f"{number}"}, reviewer=f"Ada {text}"[:100])
    log = store.decisions.page()
    assert log["note"].tolist() == HOSTILE[:12][::-1]


def test_undo_is_of_what_the_screen_shows_else_of_ones_own_last(client: Client) -> None:
    sent(client, one(0), one(1, "remove"))
    sent(client, one(2) | {"id": "bob"}, reviewer="Bob")
    theirs = client.post("undo", id="u1", path=path_of(2), seen="bob")
    assert (theirs["status"], theirs["stands"]["reviewer"]) == ("theirs", "Bob")
    mine = client.post("undo", id="u2", path=path_of(3), seen="")
    assert (mine["status"], mine["path"], mine["undone"]["decision"]) == ("undone", path_of(1), "remove")
    assert client.post("undo", id="u2", path=path_of(3), seen="")["status"] == "known"
    assert client.post("undo", id="u3", path=path_of(2), seen="bob", others=True)["status"] == "undone"
    assert client.post("undo", id="u4", path=None)["path"] == path_of(0)
    assert client.post("undo", id="u5", path=None)["status"] == "none"
    assert client.get("progress")["reviewed"] == 0


def test_an_undo_of_one_picture_never_takes_back_another(client: Client, store: Store) -> None:
    sent(client, one(0), one(1, "remove"))
    store.decisions.undo(AUDIT_ID, path_of(1), reviewer="Bob")
    nothing = client.post("undo", id="u1", path=path_of(1), seen="", exact=True)
    assert (nothing["status"], nothing["stands"]) == ("none", None)
    sent(client, one(1) | {"id": "bob", "seen": store.decisions.page(top=1)["decision_id"][0]}, reviewer="Bob")
    theirs = client.post("undo", id="u2", path=path_of(1), seen="", exact=True)
    assert (theirs["status"], theirs["stands"]["reviewer"]) == ("newer", "Bob")
    assert client.get("progress")["reviewed"] == 2


def test_a_bulk_is_taken_back_as_one(client: Client) -> None:
    sent(client, *(one(number, "remove") for number in range(5)), batch="bulk")
    answer = client.post("undo", id="u", path=None)
    assert (answer["status"], answer["count"], len(answer["paths"])) == ("undone", 5, 5)
    assert client.get("progress")["reviewed"] == 0


def test_no_more_than_a_thousand_come_at_once(client: Client) -> None:
    answer = client.posted("decisions", decisions=[one(0)] * 1001)
    assert answer.status_code == 400 and "more than 1,000" in answer.json()["error"]
    assert client.http.get("/decisions", headers=client.headers).status_code == 405


@pytest.fixture
def copies(store: Store) -> list[str]:
    """The same picture three times, under two labels."""
    return make_copies(store)


def said(store: Store) -> list[tuple[str, str, str]]:
    log = store.decisions.page()[["path", "decision", "new_label"]][::-1]
    return [tuple(row) for row in log.itertuples(index=False, name=None)]


def test_all_copies_are_decided_at_one_stroke_and_taken_back_as_one(
    client: Client, store: Store, copies: list[str]
) -> None:
    first, second, third = copies
    suspect = client.get("suspect", path=first)
    assert [copy["path"] for copy in suspect["copies"]] == sorted([second, third])
    assert "".join(text for text, _ in suspect["reason"]).startswith(
        "3 exact copies, filed as kite, kite, owl: at most"
    )
    decided = one(0, "relabel", new_label="owl", seen=suspect["seen"], copies=suspect["copies"])
    assert [sent(client, decided)[0]["status"] for _ in range(2)] == ["stored", "known"]
    rows = {path: (decision, label) for path, decision, label in said(store)}
    assert rows == {first: ("relabel", "owl"), second: ("keep", ""), third: ("relabel", "owl")}
    assert store.decisions.count() == 3, "a row for each picture"
    undone = client.post("undo", id="undo-1", path=third, seen=client.get("suspect", path=third)["seen"])
    assert (undone["status"], sorted(undone["paths"]), undone["count"]) == ("undone", sorted(copies), 3)
    assert [row[1] for row in said(store)[3:]] == ["undo"] * 3
    assert not any(client.get("suspect", path=path)["decision"] for path in copies)
    # What is right of one is wrong of the copy that is filed as another class.
    again = client.get("suspect", path=first)
    sent(client, one(0, "keep", seen=again["seen"], copies=again["copies"]) | {"id": "2"})
    assert (second, "relabel", "kite") in said(store)


def test_a_copy_that_somebody_has_decided_meanwhile_is_not_overwritten(
    client: Client, store: Store, copies: list[str]
) -> None:
    suspect = client.get("suspect", path=copies[0])
    sent(client, one(1, "remove") | {"id": "bob"}, reviewer="Bob")
    decided = one(0, "keep", copies=suspect["copies"])
    [result] = sent(client, decided)
    assert (result["status"], result["newest"]["reviewer"]) == ("newer", "Bob")
    assert store.decisions.count() == 1, "none of them is stored"
    assert sent(client, decided | {"seen": "bob"})[0]["status"] == "stored"
    # Of pictures that are no copies nothing is said along.
    [result] = sent(client, one(2, copies=[{"path": path_of(3), "seen": ""}]))
    assert result["status"] == "refused" and "no exact copy" in result["reason"]


def test_a_database_of_a_newer_version_is_one_sentence_and_costs_no_decision(client: Client, store: Store) -> None:
    def become(version: int) -> None:
        with duckdb.connect(str(store.database)) as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(version)])

    become(99)
    answer = client.posted("decisions", decisions=[one(0)])
    assert answer.status_code == 503, "it is sent again"
    assert "schema version 99 and this gradattn knows up to" in answer.json()["error"]
    assert answer.json()["error"].endswith("What you decide is kept in this browser until then.")
    become(len(MIGRATIONS))
    assert sent(client, one(0))[0]["status"] == "stored"


def test_two_who_review_until_a_share_is_left_lose_no_draw(client: Client, store: Store) -> None:
    """Both get the same pages: a draw that waits is handed to whoever asks, and is answered once."""
    store.draws.spot_check(AUDIT_ID, 10, seed=2)
    store.decisions.append_many(AUDIT_ID, store.draws.waiting(AUDIT_ID), "keep", reviewer="Ada")
    answers: list[str] = []

    def review(name: str) -> None:
        for turn in range(12):
            told = client.get("list", list="until", left="1", count=3, reviewer=name)["suspects"]
            rows = [
                {"id": f"{name}-{turn}-{place}", "path": each["path"], "decision": "keep", "seen": each["seen"]}
                for place, each in enumerate(told)
            ]
            if rows:
                answers.extend(each["status"] for each in sent(client, *rows, reviewer=name))

    threads = [threading.Thread(target=review, args=(name,)) for name in ("Ada", "Bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drawn = store.draws.drawn(AUDIT_ID)
    assert len(drawn) == len(set(drawn)), "no picture is drawn twice"
    assert set(answers) <= {"stored", "newer"}
    until = store.draws.until(AUDIT_ID, 0.01)
    assert until.reviewed == store.decisions.count(standing=True) == store.decisions.count()
    assert not until.waiting or until.kind == "random", "what waits is handed out next"
