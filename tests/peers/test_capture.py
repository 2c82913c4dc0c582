"""Attention written out is the model's own, its gradients keep their identities, and what takes its place counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradattn_core.attention.readout import find_readout
from gradattn_core.attention.rollout import prepared
from gradattn_core.peers.capture import attended, gradients
from gradattn_core.peers.question import Question
from tests.helpers.explicit_maps import attention_maps, pictures
from tests.helpers.peer_models import MODELS, small


def question(key: str, chunk_size: int = 32) -> Question:
    model, readout = small(key), find_readout(small(key))
    return Question(model, pictures(2), (4, 4), readout, torch.tensor([1, 5]), None, None, chunk_size, (0, 1))


@pytest.mark.parametrize("key", MODELS)
def test_what_is_written_out_is_what_the_model_does(key: str) -> None:
    asked = question(key)
    logits, maps = attention_maps(asked.model, asked.images)
    with prepared(asked.model):
        seen = attended(asked)
    torch.testing.assert_close(seen.logits, logits)
    for found, expected in zip(seen.maps, maps, strict=True):
        torch.testing.assert_close(found, expected.detach())
    slopes = torch.autograd.grad(logits[0, 1] + logits[1, 5], maps)
    outputs = gradients(asked.value(seen.logits), [call.output for call in seen.calls])
    for number, (slope, call) in enumerate(zip(seen.gradients(), seen.calls, strict=True)):
        torch.testing.assert_close(slope, slopes[number])
        # Σ_j A_ij G_ij = <o_i, ∂f/∂o_i>, in every head of every layer.
        along = (call.output * outputs[number]).sum(-1)
        torch.testing.assert_close((call.weights * slope).sum(-1), along)
    assert [stream.shape[1] for stream in seen.streams] == [len(maps[0][0, 0])] * 4


def test_behind_a_class_token_only_its_row_of_the_last_layer_matters() -> None:
    with prepared(small("vit")):
        last = attended(question("vit")).gradients()[-1]
    assert float(last[:, :, 0].abs().max()) > 0
    assert not bool(last[:, :, 1:].any())


def test_a_matrix_that_is_put_in_the_place_of_the_models_own_counts() -> None:
    asked = question("vit")

    def first_blocks_even(index: int, own: Callable[[], Tensor]) -> Tensor:
        return torch.full_like(own(), 1 / 17) if index == 0 else own()

    with prepared(asked.model):
        changed, same = attended(asked, first_blocks_even), attended(asked)
    assert torch.equal(changed.maps[0], torch.full_like(changed.maps[0], 1 / 17))
    # What comes behind attends by itself, to other tokens than before.
    assert not torch.allclose(changed.maps[1], same.maps[1])
    assert not torch.allclose(changed.logits, same.logits)


def test_passes_are_all_pairs_of_a_step_and_a_picture_a_chunk_at_a_time() -> None:
    chunks = list(question("vit", chunk_size=3).passes(4))
    assert [len(steps) for steps, _ in chunks] == [3, 3, 2]
    pairs = [pair for steps, rows in chunks for pair in zip(steps.tolist(), rows.tolist(), strict=True)]
    assert sorted(pairs) == [(step, picture) for step in range(4) for picture in range(2)]


def test_a_part_of_a_question_keeps_its_classes_and_seeds() -> None:
    part = question("vit").take(torch.tensor([1, 1, 0]))
    assert torch.equal(part.images[2], pictures(2)[0])
    assert part.target.tolist() == [5, 5, 1] and part.seeds == (1, 1, 0)
    assert torch.equal(part.value(torch.eye(7)[[5, 0, 1]]), torch.tensor([1.0, 0.0, 1.0]))
