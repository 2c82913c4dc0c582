"""Our own maps in the registry are those of ``interpret``, and the controls are what they say."""

from __future__ import annotations

import pytest
import torch

from gradattn_core.attention.secant import B3
from gradattn_core.interpret.absence import without_patches
from gradattn_core.interpret.maps import interpret, signed_maps
from gradattn_core.methods import PAPER_CORRECTIONS, Method
from gradattn_core.model.forward import answer
from gradattn_core.peers.registry import PEERS, peer_maps
from tests.helpers.explicit_maps import pictures, vit
from tests.helpers.peer_models import small


@pytest.mark.parametrize("correction", ["secant", *PAPER_CORRECTIONS])
def test_ours_are_what_interpret_gives(correction: str) -> None:
    found = peer_maps(correction, vit(), pictures(), 1, 4)
    assert torch.equal(found, interpret(vit(), pictures(), 1, 4, correction=correction).scores)
    alone = peer_maps(correction, vit(), pictures(), 1)
    assert torch.equal(alone, interpret(vit(), pictures(), 1, objective="logit", correction=correction).scores)
    if correction != "secant":
        added = peer_maps(f"{correction}-sum", vit(), pictures(), 1, 4)
        assert torch.equal(added, interpret(vit(), pictures(), 1, 4, correction=correction, aggregation="sum").scores)


@pytest.mark.filterwarnings("ignore:objective='ratio'")
def test_the_ratio_is_the_papers_as_printed() -> None:
    found = peer_maps("ratio", vit(), pictures(), 1, 4)
    torch.testing.assert_close(found, interpret(vit(), pictures(), 1, 4, objective="ratio").scores)
    assert torch.equal(peer_maps("ratio", vit(), pictures(), 1), peer_maps("complete", vit(), pictures(), 1))


def test_a_setting_of_the_secant_is_chosen_by_name() -> None:
    found = peer_maps("secant-3", vit(), pictures(), 1, 4)
    assert torch.equal(found, signed_maps(vit(), pictures(), 1, 4, Method(correction="secant"), setting=B3).scores)


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.adds_up])
@pytest.mark.parametrize("key", ["vit", "distilled", "average", "pool"])
def test_what_adds_up_adds_up_to_f_above_no_picture(name: str, key: str) -> None:
    model, images = small(key), pictures(3)
    absent = torch.ones(3, 4, 4, dtype=torch.bool)
    moved = answer(model, images) - without_patches(model, images, absent)
    found = peer_maps(name, model, images, 1, 4)
    torch.testing.assert_close(found.sum((1, 2)), moved[:, 1] - moved[:, 4], rtol=1e-4, atol=1e-4)


def test_two_scales_keep_every_sign_and_the_order_within_a_sign() -> None:
    plain, moved = (peer_maps(name, vit(), pictures(1), 1, 4) for name in ("centred", "centred-scaled"))
    assert torch.equal(plain.sign(), moved.sign())
    assert torch.allclose(moved[plain > 0] / plain[plain > 0], (moved / plain)[plain > 0].mean())


def test_the_random_map_is_the_seeds_and_the_centre_is_highest() -> None:
    first, second = (peer_maps("random", vit(), pictures(2), 0, seed=seed) for seed in (0, 1))
    assert torch.equal(first[1], second[0]) and not torch.equal(first[0], first[1])
    centre = peer_maps("centre", vit(), pictures(1), 0)[0]
    assert torch.equal(centre, centre.flip(0)) and torch.equal(centre, centre.T)
    assert float(centre[0, 0]) < float(centre[0, 1]) < float(centre[1, 1])
