"""Nodes that share no folder: what an audit's parts need and leave travels over a URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flows.cluster import Share, for_runner, plan_on_node
from flows.exchange import Exchange
from flows.tasks import compute_part, own_folder
from gradattn_core.audit.findings import write_findings
from gradattn_core.audit.merge import merge
from gradattn_core.audit.plan import Plan, make_plan, survey_dataset
from gradattn_core.audit.rank import rank_images
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.stages import FINETUNE, INTERPRET, SWEEP, Stage
from gradattn_core.config import AuditConfig, FineTuning
from gradattn_core.dataset.storage import files_below
from gradattn_core.errors import GradattnError
from tests.helpers.tiny import Tiny, make_tiny

SHARE = Share("cpu", 1, torch.get_num_threads())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), per_class=6, wrong_per_class=1)


@pytest.fixture(autouse=True)
def a_node_of_its_own() -> Iterator[None]:
    yield
    plan_on_node.cache_clear()
    own_folder.cache_clear()


def compute_elsewhere(plan: Plan, stage: Stage, exchange: Exchange) -> list[int]:
    """What the driver does, the parts computed as on a node that sees nothing of the output folder."""
    exchange.begin(plan, stage)
    missing = stage.missing(plan)
    for index in missing:
        compute_part(stage.name, "/no/such/folder", index, SHARE, exchange)
        assert not stage.file(plan, index).exists()
        exchange.fetch(stage.files(plan, index))
    return missing


@pytest.mark.parametrize("head", ["probe", "finetune"])
def test_over_a_url_the_list_is_that_of_the_plain_audit(tiny: Tiny, tmp_path: Path, head: str) -> None:
    changes = {"head": head, "folds": 2, "finetuning": FineTuning(epochs=1), "shard_size": 8, "device": "cpu"}
    audit_images(tiny.config(tmp_path / "plain", **changes))
    config = tiny.config(tmp_path / "out", **changes)
    plan = make_plan(config, survey_dataset(config))
    exchange = Exchange(f"memory://exchange-{head}/{plan.audit_id}")
    compute_elsewhere(plan, SWEEP, exchange)
    if head == "finetune":
        assert compute_elsewhere(plan, FINETUNE, exchange) == [0, 1]
    rank_images(plan)
    assert compute_elsewhere(plan, INTERPRET, exchange)
    node = plan_on_node(str(own_folder(exchange.url)), SHARE, is_own=True)
    assert Path(str(node.config.checkpoint)).parent == own_folder(exchange.url) != plan.folder
    write_findings(plan)
    merge(plan)
    assert (tmp_path / "out/candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
    exchange.remove()
    with pytest.raises(FileNotFoundError):
        files_below(exchange.url)


def test_what_an_interrupted_run_left_at_the_url_is_not_computed_again(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path / "out", shard_size=8)
    plan = make_plan(config, survey_dataset(config))
    exchange = Exchange(f"{tmp_path.as_uri()}/storage/{plan.audit_id}")
    compute_elsewhere(plan, SWEEP, exchange)
    content = SWEEP.file(plan, 1).read_bytes()
    for file in SWEEP.files(plan, 1):
        file.unlink()
    assert compute_elsewhere(plan, SWEEP, exchange) == []
    assert SWEEP.file(plan, 1).read_bytes() == content
    # Half of what belongs to a part is not the part.
    (tmp_path / "storage" / plan.audit_id / SWEEP.files(plan, 2)[0].name).unlink()
    for file in SWEEP.files(plan, 2):
        file.unlink()
    assert compute_elsewhere(plan, SWEEP, exchange) == [2]
    assert not list((tmp_path / "storage").rglob(".*"))


def test_storage_that_cannot_be_used_is_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path / "out")
    plan = make_plan(config, survey_dataset(config))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GradattnError, match=r"^ray_storage file://.*/file/x: .*every node must be able to"):
        Exchange(f"{tmp_path.as_uri()}/file/x").begin(plan, SWEEP)
    with pytest.raises(GradattnError, match="'nowhere://' is no known storage"):
        Exchange("nowhere://x").begin(plan, SWEEP)


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("/shared/results", r"'/shared/results' is no URL, such as s3://bucket/folder"),
        ("sftp://ann:hush@host/x", r"sftp://host/x came with a password"),
    ],
)
def test_an_address_that_other_machines_could_not_use_is_refused(storage: str, words: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(GradattnError, match=words) as told:
        for_runner(AuditConfig("photos", runner="ray", ray_storage=storage))
    assert "hush" not in str(told.value)
    with pytest.raises(GradattnError, match=r"ray_storage .* says nothing to runner 'local'") as told:
        AuditConfig("photos", ray_storage=storage)
    assert "hush" not in str(told.value)
