"""What a client is told of lists: the store's own rows in their order, filters by the names of addresses, blindness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradattn_core.store.connection import transaction
from gradattn_core.store.store import Store
from tests.helpers.own_routes import Client
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, SUSPECTS, path_of, pictured_store
from ui.api import writes
from ui.api.filters import LISTS

MODELS = ["suspicion", "probab", "%", "neighbour", "looks like", "similar pictures"]
"""What nobody may read of a picture that is shown blind."""


def paths(answer: object) -> list[str]:
    return [suspect["path"] for suspect in answer["suspects"]]  # type: ignore[index]


def test_a_list_has_the_suspects_in_their_order_and_says_how_many(client: Client, store: Store) -> None:
    answer = client.get("list", reviewer="Ada")
    rows = store.candidates.page(AUDIT_ID)
    assert paths(answer) == rows["path"].tolist()
    assert {name: answer[name] for name in ("total", "decided", "left", "more", "outside")} == {
        "total": SUSPECTS, "decided": 0, "left": SUSPECTS, "more": False, "outside": 0,
    }  # fmt: skip
    first = answer["suspects"][0]
    assert (first["content_hash"], first["given"]["label"]) == (rows["content_hash"][0], rows["given_label"][0])
    assert client.get("suspect", path=first["path"]) == first


@pytest.mark.parametrize("order", ["rank", "surest", "pair", "similar", "path", "decided"])
def test_a_list_goes_on_from_a_place_whatever_is_decided_meanwhile(client: Client, order: str) -> None:
    whole = paths(client.get("list", order=order, decided="any"))
    seen, place = [], ""
    for _ in range(SUSPECTS):
        answer = client.get("list", order=order, decided="any" if order == "decided" else "no", count=2, after=place)
        if not answer["suspects"]:
            break
        seen += paths(answer)
        place = json.dumps(answer["suspects"][-1]["order"])
        if order != "decided":
            client.post("decisions", decisions=[{"id": seen[-2], "path": seen[-2], "decision": "keep"}])
    assert seen == whole


def test_a_list_begins_with_the_picture_that_an_address_names(client: Client) -> None:
    assert paths(client.get("list", path=path_of(5), count=3)) == [path_of(5), path_of(6), path_of(7)]
    # Also with one that is no suspect, or that the filters leave out.
    assert paths(client.get("list", path=path_of(30), count=1)) == [path_of(30)]
    client.post("decisions", decisions=[{"id": "1", "path": path_of(5), "decision": "keep"}])
    assert paths(client.get("list", path=path_of(5), count=2)) == [path_of(5), path_of(6)]
    assert paths(client.get("list", path="no such picture", count=1)) == [path_of(0)]


def test_what_is_held_is_not_sent_again(client: Client) -> None:
    held = [path_of(0), path_of(2)]
    assert paths(client.post("list", held=held, count=2)) == [path_of(1), path_of(3)]
    assert paths(client.get("list", held=json.dumps(held), count=1)) == [path_of(1)]


def test_filters_are_those_of_the_store(client: Client, store: Store) -> None:
    for asked, said in (
        ({"given": CLASSES[0]}, {"given": CLASSES[0]}),
        ({"suggested": CLASSES[1]}, {"suggested": CLASSES[1]}),
        ({"suggested": "none"}, {"suggested": ""}),
        ({"least": "0.3", "most": "0.8"}, {"min_suspicion": 0.3, "max_suspicion": 0.8}),
        ({"contains": "kite"}, {"path_contains": "kite"}),
        ({"kind": "mislabel"}, {"kind": "mislabel"}),
        ({"part": "1/2"}, {"part": (1, 2)}),
        ({"part": "2/2", "overlap": "50"}, {"part": (2, 2), "overlap": 0.5}),
    ):
        expected = store.candidates.page(AUDIT_ID, decided="no", **said)["path"].tolist()
        assert paths(client.get("list", **asked)) == expected[:24], asked


def test_parts_are_everything_and_share_nothing(client: Client) -> None:
    parts = [set(paths(client.get("list", part=f"{number}/3"))) for number in (1, 2, 3)]
    assert set().union(*parts) == set(paths(client.get("list"))) and sum(map(len, parts)) == SUSPECTS


def test_a_tag_is_a_filter_and_is_counted(client: Client) -> None:
    for _ in range(2):
        answer = client.post("tags", path=path_of(3), add=["<b>ask</b>", "ask the lab "])
        assert answer["tags"] == ["<b>ask</b>", "ask the lab"]
    assert paths(client.get("list", tag="ask the lab")) == [path_of(3)]
    assert client.get("suspect", path=path_of(3))["tags"] == ["<b>ask</b>", "ask the lab"]
    assert {"tag": "ask the lab", "count": 1} in client.get("tags")
    assert client.post("tags", path=path_of(3), remove=["<b>ask</b>", "ask the lab"])["tags"] == []


def test_a_view_is_kept_by_its_name(client: Client) -> None:
    query = {"given": "<b>&=?", "tag": "ask the lab"}
    client.post("views", page="grid", name="Mine", query={"given": "x"})
    [view] = client.post("views", page="grid", name="Mine", query=query)
    assert (view["page"], view["name"], view["query"], view["reviewer"]) == ("grid", "Mine", query, "Ada")
    assert client.post("views", page="grid", name="Mine", remove=True) == []


BROKEN = [
    ("nope", "1"), ("list", "all"), ("order", "rank DESC"), ("decided", "perhaps"), ("kind", "odd"),
    ("least", "much"), ("least", "nan"), ("least", "2"), ("most", "-1"), ("count", "0"), ("count", "25"),
    ("after", "["), ("after", "{}"), ("after", "[]"), ("after", "[[1], 2]"), ("held", "[1]"), ("held", "x"),
    ("part", "3/2"), ("part", "0/2"), ("part", "1/x"), ("left", "0"), ("nobody", "2"), ("as", "html"),
]  # fmt: skip


def test_a_parameter_that_is_unknown_or_broken_is_named(client: Client) -> None:
    for name, value in BROKEN:
        answer = client.http.get("/list", params={"audit": AUDIT_ID, name: value}, headers=client.headers)
        assert answer.status_code == 400 and name in answer.json()["error"], (name, value, answer.text)


def test_half_a_character_and_numbers_beyond_all_bounds_are_broken_not_worth_another_try(client: Client) -> None:
    half: str = json.loads('"\\ud83e"')

    def refused(route: str, **body: object) -> str:
        asked = json.dumps({"audit": AUDIT_ID, "reviewer": "Ada"} | body)
        answer = client.http.post(f"/{route}", content=asked, headers=client.headers)
        assert answer.status_code == 400, (route, body, answer.text)
        return str(answer.json()["error"])

    for name, value in (("given", half), ("tag", half), ("held", [half]), ("after", [10**40, "x"]), ("least", 10**400)):
        assert name in refused("list", **{name: value})
    refused("tags", path=path_of(0), add=[half])
    refused("undo", id=half)
    refused("views", page=half)


def test_a_place_of_another_order_is_refused(client: Client) -> None:
    answer = client.http.get(
        "/list", params={"audit": AUDIT_ID, "order": "pair", "after": "[1, 2]"}, headers=client.headers
    )
    assert 400 <= answer.status_code < 500


def test_what_says_what_a_model_thinks_has_no_blind_list(client: Client) -> None:
    for route, method in (("cards", "GET"), ("histogram", "GET"), ("preview", "POST")):
        for name in LISTS[1:]:
            told = {"audit": AUDIT_ID, "list": name, "reviewer": "Ada", "decision": "accept"}
            asked = {"json": told} if method == "POST" else {"params": {**told, "decision": ""}}
            answer = client.http.request(method, f"/{route}", headers=client.headers, **asked)  # type: ignore[arg-type]
            assert answer.status_code == 400 and "is blind" in answer.json()["error"], (route, name, answer.text)


def blind(answer: object) -> None:
    for suspect in answer["suspects"]:  # type: ignore[index]
        assert suspect["blind"] and suspect["map"] is None and not suspect["typical"] and not suspect["classes"]
        assert "A" not in suspect["actions"] and suspect["primary"] is None and suspect["rank"] == 0
        ranks = {key for key in suspect["order"] if isinstance(key, int)}
        assert ranks <= {2**53 - 1}, "a rank would be a hint"
        told = json.dumps(suspect).lower()
        assert not [word for word in MODELS if word in told], told


def test_what_was_drawn_at_random_is_blind_and_goes_on_from_a_place(client: Client, store: Store) -> None:
    store.draws.spot_check(AUDIT_ID, 10, seed=1)
    drawn = store.draws.waiting(AUDIT_ID, "spot check")
    answer = client.get("list", list="spot check", reviewer="Ada", count=4)
    assert (paths(answer), answer["total"], answer["left"], answer["more"]) == (drawn[:4], 10, 10, True)
    blind(answer)
    client.post("decisions", decisions=[{"id": str(n), "path": drawn[n], "decision": "keep"} for n in (1, 3, 5)])
    # The place is that of a picture which waits no more.
    after = json.dumps(answer["suspects"][-1]["order"])
    answer = client.get("list", list="spot check", count=4, after=after)
    assert (paths(answer), answer["decided"], answer["more"]) == ([drawn[n] for n in (4, 6, 7, 8)], 3, True)
    blind({"suspects": [client.get("suspect", path=drawn[0], list="spot check")]})


def test_the_review_that_ends_goes_on_with_what_has_no_verdict(client: Client) -> None:
    first = client.get("list", list="until", left="10")
    assert first["suspects"] and first["total"] == first["left"]
    seen = paths(first)
    client.post("decisions", decisions=[{"id": path, "path": path, "decision": "keep"} for path in seen[:-1]])
    again = client.get("list", list="until", left="10")
    assert paths(again)[0] == seen[-1] and not set(seen[:-1]).intersection(paths(again))


def test_what_was_drawn_once_stays_blind_where_one_comes_back_to_it(client: Client, store: Store) -> None:
    drawn = store.draws.spot_check(AUDIT_ID, 3, seed=1).paths
    client.post("decisions", decisions=[{"id": path, "path": path, "decision": "keep"} for path in drawn])
    answer = client.get("list", list="until", left="10", path=drawn[0])
    assert paths(answer)[0] == drawn[0] and not answer["suspects"][1]["blind"]
    blind({"suspects": answer["suspects"][:1]})


def test_a_random_check_counts_its_own_draws(client: Client, store: Store) -> None:
    store.draws.spot_check(AUDIT_ID, 3, seed=1)
    with transaction(store.database, write=True, patience=5) as connection:
        connection.execute("UPDATE draws SET purpose = 'until'")
    own = store.draws.spot_check(AUDIT_ID, 5, seed=2).paths
    answer = client.get("list", list="spot check", reviewer="Ada")
    assert (paths(answer), answer["total"], answer["decided"]) == (list(own), 5, 0)
    client.post("decisions", decisions=[{"id": path, "path": path, "decision": "keep"} for path in own])
    # From then on only the bound that holds at every moment is said, here as on Overview.
    said = json.dumps(client.get("standing", list="spot check")["panel"])
    assert store.tally.rule_runs(AUDIT_ID) and "So at most" in said and "between" not in said, said


def test_a_second_look_is_blind_and_only_at_what_others_decided(client: Client) -> None:
    said = [{"id": str(number), "path": path_of(number), "decision": "keep"} for number in (2, 5, 30)]
    client.post("decisions", decisions=said)
    assert paths(client.get("list", list="second look", reviewer="Ada")) == []
    answer = client.get("list", list="second look", reviewer="Bob", suggested=CLASSES[1], order="surest")
    assert set(paths(answer)) == {path_of(2), path_of(5), path_of(30)}
    blind(answer)
    assert not any(suspect["decision"] for suspect in answer["suspects"]), "what Ada said would be a hint"
    client.post("decisions", reviewer="Bob", decisions=[{"id": "b", "path": path_of(5), "decision": "remove",
                "seen": answer["suspects"][paths(answer).index(path_of(5))]["seen"]}])  # fmt: skip
    left = client.get("list", list="second look", reviewer="Bob")
    assert set(paths(left)) == {path_of(2), path_of(30)}
    # The place of one that is decided is a place still.
    after = json.dumps(answer["suspects"][0]["order"])
    behind = client.get("list", list="second look", reviewer="Bob", after=after)
    assert paths(behind) == [path for path in paths(answer)[1:] if path != path_of(5)]


def test_classes_of_one_name_are_told_apart(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = client.get("classes")
    assert sorted(each["label"] for each in found) == sorted(CLASSES)
    assert len({each["name"] for each in found}) == len(CLASSES) and not any(each["group"] for each in found)
    cranes = pictured_store(tmp_path / "cranes", classes=["n02012849", "n03126707", "owl"])
    monkeypatch.setenv("GRADATTN_OUT", str(cranes.directory))
    assert [(each["name"], each["group"]) for each in client.get("classes")] == [
        ("crane", "large long-necked wading bird of marshes and plains in many …"),
        ("crane", "lifts and moves heavy objects; lifting tackle is suspended …"),
        ("owl", ""),
    ]


def test_numbers_follow_decisions(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come with an answer at most every few seconds, and always where they are asked for."""
    # A few seconds may pass between two lines of this test.
    monkeypatch.setattr(writes, "SECONDS_BETWEEN_COUNTS", 3600.0)
    before = client.get("progress")
    answer = client.post("decisions", decisions=[{"id": "1", "path": path_of(0), "decision": "remove"}])
    assert (before["reviewed"], answer["progress"]["reviewed"], answer["progress"]["removed"]) == (0, 1, 1)
    assert answer["progress"] == client.get("progress", reviewer="Ada")
    assert (answer["progress"]["today"], client.get("progress", reviewer="Bob")["today"]) == (1, 0)
    again = client.post("decisions", decisions=[{"id": "2", "path": path_of(1), "decision": "remove"}])
    assert again["progress"] is None and client.get("progress")["reviewed"] == 2
    assert answer["progress"]["precision"] == store.review.progress(AUDIT_ID).precision == 1.0
    assert before["precision"] is None
