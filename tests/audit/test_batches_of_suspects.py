"""Suspects batch by batch: pixels from pinned memory, no head that is there already, rows behind the next batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradattn_core.audit.explainer import Suspect, _hidden, _together
from gradattn_core.audit.heads import LinearHeads
from gradattn_core.audit.interpret import interpret_shard
from gradattn_core.audit.loading import LoadedImage, audit_model
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.rank import rank_images
from gradattn_core.audit.sweep import sweep_shards
from gradattn_core.records import ImageRecord
from tests.helpers.tiny import Tiny

IMAGE = LoadedImage(ImageRecord("a.png", "cat", 1), "0" * 32, 4, 4)


def suspects(count: int) -> list[Suspect]:
    pixels = torch.arange(count * 48, dtype=torch.uint8).reshape(count, 3, 4, 4)
    return [Suspect(IMAGE, row, 0, 1, "dog", 0, False) for row in pixels]


@pytest.mark.parametrize("pinned", [False, True])
def test_pixels_stay_in_the_kind_of_memory_that_they_were_loaded_to(
    pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretended: there is memory that a GPU fetches from by itself."""
    asked, empty = [], torch.empty

    def made(*size: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        asked.append(pin_memory)
        return empty(*size, **options)

    monkeypatch.setattr(torch, "empty", made)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: pinned)
    found = _together(suspects(3))
    assert asked == [pinned]
    assert found.dtype == torch.uint8 and torch.equal(found.flatten(), torch.arange(144, dtype=torch.uint8))


def test_the_heads_of_all_folds_travel_to_a_device_once_and_each_image_has_its_own() -> None:
    rng = np.random.default_rng(1)
    heads = LinearHeads(rng.normal(size=(4, 3, 5)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32))
    features = rng.normal(size=(2, 5)).astype(np.float32)
    device, kept = torch.device("cpu"), []
    for _ in range(2):
        logits = heads.of([3, 1], device)(torch.from_numpy(features)).numpy()
        expected = [heads.weights[fold] @ features[row] + heads.bias[fold] for row, fold in enumerate((3, 1))]
        assert np.allclose(logits, np.stack(expected), atol=1e-6)
        kept.append(heads._on[device][0])
    assert kept[0] is kept[1]


def test_rows_of_a_batch_are_made_while_the_next_one_is_explained(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.config(tmp_path, interpret="all", shard_size=80, batch_size=5)
    plan = make_plan(config, survey_dataset(config))
    sweep_shards(plan, range(plan.shards))
    rank_images(plan)
    happened: list[int] = []
    patches = audit_model(config).get_submodule("patch_embed")
    # Batches of other sizes are the pictures with something hidden.
    hook = patches.register_forward_pre_hook(lambda _, images: happened.append(-len(images[0])))
    try:
        interpret_shard(plan, 0, lambda step, done, total: happened.append(done))
    finally:
        hook.remove()
    told = [done for done in happened if done > 0]
    assert told == [5, 10, 15, 20, 20]
    before = happened[: happened.index(5)]
    after = happened[happened.index(5) + 1 : happened.index(10)]
    assert len(before) > 1.5 * len(after) > 0, "two batches are explained before the first is told of, then one each"


def test_what_a_batch_says_with_evidence_hidden_is_what_each_of_it_says_alone() -> None:
    """Among the dataset's classes, and the other class where that is none of them; nothing where a number is none."""
    rng = np.random.default_rng(2)
    logits, outputs = torch.from_numpy(rng.normal(size=(5, 40)).astype(np.float32)) * 4, {"cat": 7, "dog": 3, "owl": 20}
    logits[2, 30] = torch.nan
    logits[3, 11] = 30
    others = [("dog", 3), ("owl", 20), ("dog", 3), ("fox", 11), ("dog", 12)]
    asked = [Suspect(IMAGE, torch.zeros(1), 7, output, label, 0, False) for label, output in others]
    found = _hidden(outputs, asked, logits)
    assert found[2] is None
    for row, suspect in enumerate(asked):
        hidden = found[row]
        if hidden is None:
            continue
        among = {**outputs, suspect.other_label: suspect.other_output}
        values = np.array([float(logits[row, output]) for output in among.values()])
        chances = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
        assert hidden.label == list(among)[int(chances.argmax())]
        assert hidden.probability == pytest.approx(chances.max(), rel=1e-12)
        assert hidden.for_logit == float(logits[row, 7])
        assert hidden.against_logit == float(logits[row, suspect.other_output])
    assert found[3] is not None and found[3].label == "fox"
