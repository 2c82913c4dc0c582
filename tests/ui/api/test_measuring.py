"""What the routes ask the model anew: numbers measured, and maps by other methods, against the model asked directly."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from gradattn_core.audit.judge import Judge
from gradattn_core.audit.run import audit_images
from gradattn_core.interpret.groups import measuring_passes
from gradattn_core.interpret.measured import ALL_REGIONS, measured_evidence
from gradattn_core.peers.registry import PEERS, peer_maps
from gradattn_core.reasons import account, contradicted, signed
from gradattn_core.store.store import Store
from tests.helpers.asking import asked
from tests.helpers.own_routes import Client
from tests.helpers.tiny import Tiny, make_tiny
from ui.api import measuring
from ui.api.answers import Asked, Conflict


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("measuring"), per_class=8)


@pytest.fixture(scope="module")
def audited(tiny: Tiny) -> Path:
    """The output folder of an audit whose model is still there."""
    out = tiny.dataset.parent / "out"
    audit_images(tiny.config(out))
    return out


@pytest.fixture
def store(audited: Path, tmp_path: Path, show: Callable[[Store], Store]) -> Iterator[Store]:
    shutil.copytree(audited, tmp_path / "out")
    yield show(Store(tmp_path / "out"))
    measuring.stop()


@pytest.fixture
def audit(store: Store) -> str:
    return store.audits.latest_id()


@pytest.fixture
def path(store: Store, audit: str) -> str:
    return str(store.candidates.page(audit)["path"][0])


def test_numbers_are_those_of_the_model_asked_directly_and_are_kept(
    client: Client, store: Store, audit: str, path: str
) -> None:
    before = store.images.evidence(audit, path)
    assert before is not None and before.numbers == "map"
    [shown] = client.get("list", audit=audit, count=1)["suspects"]
    known = sum(region.measured is not None for region in before.statistics.regions)
    total = len(before.statistics.regions)
    assert shown["path"] == path and total > known
    assert shown["map"]["measuring"] == {
        "parts": f"{known} of {total} parts of this picture are measured",
        "passes": f"{measuring_passes(before)} passes",
        "took": "",
    }
    answer = client.post("measure", audit=audit, path=path)
    case = replace(Judge.of(store, audit).case(store, path), evidence=before)
    model = Judge.of(store, audit).model
    [expected] = measured_evidence(
        model, case.pixels, [before], [(case.width, case.height)], case.target, case.against,
        head=case.head, ranks=ALL_REGIONS,
    )  # fmt: skip
    kept = store.images.evidence(audit, path)
    assert kept is not None and kept.numbers == "measured" and kept.sums is not None and expected.sums is not None
    np.testing.assert_allclose(kept.scores, expected.scores, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(kept.statistics.regions, expected.statistics.regions, strict=True):
        assert mine.measured == pytest.approx(theirs.measured, abs=1e-4) and mine.measured is not None
    numbers = account(expected)
    assert numbers is not None
    assert [bar["text"] for bar in answer["map"]["waterfall"]] == [step.text for step in numbers.steps(("red", "blue"))]
    answers = {(part["sign"], part["hidden"][1]) for part in answer["map"]["regions"]}
    outlined = [each for each in expected.statistics.regions if each.rank == 1 or contradicted(each)]
    whole = numbers.sums.log_odds
    assert answers == {(each.sign, signed(whole - (each.measured or 0.0))) for each in outlined}
    told = answer["map"]["measuring"]
    assert told["parts"].startswith(f"{total} of {total} parts") and not told["passes"] and told["took"].endswith(" s")
    # Whoever asks twice gets one answer, from the database.
    again = client.post("measure", audit=audit, path=path)
    assert again["map"]["regions"] == answer["map"]["regions"]
    assert client.get("suspect", audit=audit, path=path)["map"]["regions"] == answer["map"]["regions"]


def test_passes_are_as_many_as_were_said(store: Store, audit: str, path: str) -> None:
    evidence = store.images.evidence(audit, path)
    assert evidence is not None
    judge = Judge.of(store, audit)
    passes = 0

    def count(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal passes
        passes += len(inputs[0])

    hook = judge.model.patch_embed.register_forward_pre_hook(count)  # type: ignore[union-attr]
    judge.measure(store, path)
    hook.remove()
    assert passes == measuring_passes(evidence) > 10
    kept = store.images.evidence(audit, path)
    assert kept is not None and measuring_passes(kept) == 0
    assert measuring_passes(replace(evidence, sums=None)) == 0


def test_methods_are_the_cheap_ones_and_their_maps_the_registrys_own(
    client: Client, store: Store, audit: str, path: str
) -> None:
    methods = {method["name"]: method for method in client.get("methods", audit=audit)}
    assert {"gae", "rollout", "secant"} <= set(methods) and "tam" not in methods
    assert methods["rollout"] == {
        "name": "rollout", "title": "rollout", "passes": "1 pass", "signed": False,
        "says": PEERS["rollout"].properties,
    }  # fmt: skip
    judge = Judge.of(store, audit)
    case = judge.case(store, path)
    for name in ("gae", "rollout"):
        answer = client.post("method", audit=audit, path=path, method=name)
        expected = peer_maps(name, judge.model, case.pixels, case.target, case.against, head=case.head)[0]
        np.testing.assert_allclose(answer["scores"], expected.numpy(), rtol=1e-3, atol=1e-6)
        assert answer["signed"] == PEERS[name].has_sides == methods[name]["signed"]
        assert answer["crop"] == [getattr(case.evidence.crop, side) for side in ("left", "top", "right", "bottom")]
        assert (answer["for"], answer["against"]) == (case.evidence.for_label, case.evidence.against_label)
        assert PEERS[name].properties in answer["note"] and "a scale of its own" in answer["note"]
    assert answer["title"] == "Map by rollout: unsigned" and np.min(answer["scores"]) >= 0
    for unknown in ("tam", "nothing of the kind"):
        refused = client.posted("method", audit=audit, path=path, method=unknown)
        assert refused.status_code == 400 and unknown in refused.json()["error"]


def test_what_cannot_be_had_any_more_is_one_sentence(client: Client, store: Store, audit: str, path: str) -> None:
    (store.directory / "features" / audit / "heads.safetensors").unlink()
    for answer in (
        client.posted("measure", audit=audit, path=path),
        client.posted("method", audit=audit, path=path, method="gae"),
    ):
        assert answer.status_code == 409 and "its probe is gone" in answer.json()["error"]
    assert client.get("suspect", audit=audit, path=path)["map"]["measuring"]["passes"]


def test_a_page_that_only_shows_computes_nothing(
    client: Client, store: Store, audit: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    for answer in (
        client.posted("measure", audit=audit, path=path),
        client.posted("method", audit=audit, path=path, method="gae"),
    ):
        assert answer.status_code == 409 and "read-only" in answer.json()["error"]
    kept = store.images.evidence(audit, path)
    assert kept is not None and kept.numbers == "map"


def test_many_at_once_are_asked_to_come_again_and_lists_do_not_wait(
    client: Client, audit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_places", threading.BoundedSemaphore(2))
    go_on = threading.Event()

    def busy(_: Asked) -> bool:
        return go_on.wait(60)

    async def three() -> list[object]:
        let_in = [asyncio.create_task(measuring.in_line(busy, asked())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Conflict, match="try again in a moment"):
            await measuring.in_line(busy, asked())
        assert (await asyncio.to_thread(client.get, "list", audit=audit, count=1))["suspects"]
        assert not any(task.done() for task in let_in)
        go_on.set()
        return [await task for task in let_in]

    assert asyncio.run(three()) == [True, True]
    # Their places are free again.
    assert asyncio.run(measuring.in_line(busy, asked())) is True
