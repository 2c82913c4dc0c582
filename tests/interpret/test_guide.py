"""External guidance against a twin joined by hand, and several classes in pairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradattn_core.errors import GradattnError, InterpretError, ModelError
from gradattn_core.interpret.detail import detail
from gradattn_core.interpret.guide import Canvas, Split, guide
from gradattn_core.interpret.maps import interpret
from gradattn_core.methods import FITS, SIDES, Layout, Method
from tests.helpers.explicit_maps import pictures, relative, tiny, vit


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    blotches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)


def normalised(picture: Image.Image) -> Tensor:
    """By hand: this model's mean and deviation are one half."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).double()[None] / 255 * 2 - 1


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Patches of 16 pixels on 64 x 64."""
    return vit()


# A 96 x 64 picture and a 64 x 96 guide on 64 x 64: for each (part of the original, size it gets, where it is pasted),
# then the rows and columns of patches that show the picture, and what they cover of it.
WIDE, TALL = (96, 64), (64, 96)
WHOLE, WHOLE_GUIDE = (0, 0, *WIDE), (0, 0, *TALL)
Piece = tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int]]
Cut = tuple[tuple[int, int], tuple[int, int], tuple[float, float, float, float]]
BY_HAND: list[tuple[str, str, float, Piece, Piece, Cut]] = [
    ("right", "stretch", 0.5, (WHOLE, (32, 64), (0, 0)), (WHOLE_GUIDE, (32, 64), (32, 0)), ((0, 4), (0, 2), WHOLE)),
    ("left", "stretch", 0.75, (WHOLE, (48, 64), (16, 0)), (WHOLE_GUIDE, (16, 64), (0, 0)), ((0, 4), (1, 4), WHOLE)),
    ("top", "stretch", 0.25, (WHOLE, (64, 16), (0, 48)), (WHOLE_GUIDE, (64, 48), (0, 0)), ((3, 4), (0, 4), WHOLE)),
    ("bottom", "stretch", 0.45, (WHOLE, (64, 32), (0, 0)), (WHOLE_GUIDE, (64, 32), (0, 32)), ((0, 2), (0, 4), WHOLE)),
    (
        "right",
        "crop",
        0.5,
        ((32, 0, 64, 64), (32, 64), (0, 0)),
        ((8, 0, 56, 96), (32, 64), (32, 0)),
        ((0, 4), (0, 2), (32, 0, 64, 64)),
    ),
    (
        "top",
        "crop",
        0.5,
        ((0, 8, 96, 56), (64, 32), (0, 32)),
        ((0, 32, 64, 64), (64, 32), (0, 0)),
        ((2, 4), (0, 4), (0, 8, 96, 56)),
    ),
    # 96 x 64 fits into 32 x 64 as 32 x 21 with 21 rows of padding above, so patch rows 1 and 2 show it.
    (
        "left",
        "pad",
        0.5,
        (WHOLE, (32, 21), (32, 21)),
        (WHOLE_GUIDE, (32, 48), (0, 8)),
        ((1, 3), (2, 4), (0, (16 - 21) * 64 / 21, 96, (48 - 21) * 64 / 21)),
    ),
]


@pytest.mark.parametrize(("side", "fit", "ratio", "own", "others", "cut"), BY_HAND)
def test_a_guided_map_is_the_map_of_the_picture_joined_by_hand(
    model: nn.Module, side: str, fit: str, ratio: float, own: Piece, others: Piece, cut: Cut
) -> None:
    image, other = noise(*WIDE), noise(*TALL, seed=1)
    found = guide(model, image, [other], 2, 5, layout=Layout(side=side, ratio=ratio, fit=fit))
    joined = Image.new("RGB", (64, 64), (128, 128, 128))
    for picture, (part, size, place) in ((image, own), (other, others)):
        joined.paste(picture.resize(size, Image.Resampling.BICUBIC, box=part), place)
    np.testing.assert_array_equal(np.asarray(found.joined[0]), np.asarray(joined))
    expected = interpret(model, normalised(joined), 2, 5)
    rows, columns, box = cut
    scores = expected.scores[:, rows[0] : rows[1], columns[0] : columns[1]]
    assert relative(found.joined_scores, expected.scores) < 1e-5
    assert relative(found.each, scores) < 1e-5
    assert relative(found.scores, scores[0] / scores.abs().max()) < 1e-5
    edges = (found.box.left, found.box.top, found.box.right, found.box.bottom)
    assert edges == pytest.approx(box)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", [(96, 64), (40, 150), (57, 57), (500, 20)])
def test_patches_lie_where_the_box_says(model: nn.Module, side: str, fit: str, size: tuple[int, int]) -> None:
    """The picture's colours are its own coordinates, so every pixel of the joined picture says where it comes from."""
    width, height = size
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ramp = np.stack([across / width, down / height, np.zeros_like(across)], axis=-1) * 255
    split = Split.of(Canvas.of(model), side, 0.5)
    joined = np.asarray(split.join(Image.fromarray(ramp.astype(np.uint8)), noise(64, 64), fit)).astype(float) / 255
    rows, columns, box = split.covered(size, fit)
    for y in range(rows.start * 16, rows.stop * 16):
        for x in range(columns.start * 16, columns.stop * 16):
            u = (box.left + (x + 0.5 - columns.start * 16) / (16 * (columns.stop - columns.start)) * box.width) / width
            v = (box.top + (y + 0.5 - rows.start * 16) / (16 * (rows.stop - rows.start)) * box.height) / height
            # Within the picture, and away from its edges, where resampling cannot reach beyond it.
            if 0.2 < u < 0.8 and 0.2 < v < 0.8:
                np.testing.assert_allclose(joined[y, x, :2], (u, v), atol=0.02)
    assert box.width > 0 and box.height > 0
    if fit == "pad":
        assert box.left <= 0 and box.top <= 0 and box.right >= width and box.bottom >= height


def test_without_position_embeddings_it_does_not_matter_on_which_side_the_guide_is() -> None:
    blind = vit()
    torch.nn.init.zeros_(blind.pos_embed)  # type: ignore[arg-type]
    image, other = noise(64, 64), noise(64, 64, seed=1)
    for one, opposite in (("left", "right"), ("top", "bottom")):
        a, b = (guide(blind, image, [other], 0, 1, layout=Layout(side=side, ratio=0.5)) for side in (one, opposite))
        assert relative(a.each, b.each) < 1e-6
        assert relative(a.logits, b.logits) < 1e-6
    sighted = vit()
    a, b = (guide(sighted, image, [other], 0, 1, layout=Layout(side=side, ratio=0.5)) for side in ("left", "right"))
    assert relative(a.each, b.each) > 1e-3


def test_several_guides_count_alike_in_any_order_and_number(model: nn.Module) -> None:
    image, guides = noise(80, 60), [noise(64, 64, seed) for seed in range(1, 4)]
    together = guide(model, image, guides, 0, [1, 2, 1])
    apart = [guide(model, image, [other], 0, label) for other, label in zip(guides, (1, 2, 1), strict=True)]
    assert relative(together.each, torch.cat([single.each for single in apart])) < 1e-5
    assert relative(together.scores, torch.stack([single.scores for single in apart]).mean(0)) < 1e-5
    assert together.against == (1, 2, 1) and together.scores.abs().max() <= 1
    backwards = guide(model, image, guides[::-1], 0, [1, 2, 1])
    assert relative(backwards.scores, together.scores) < 1e-5
    # More than are interpreted at once.
    many = guide(model, image, guides[:1] * 11, 0, 1)
    assert len(many.each) == 11 and relative(many.scores, apart[0].scores) < 1e-5


def test_options_of_the_map_reach_the_joined_picture(model: nn.Module) -> None:
    image, other = noise(64, 64), noise(64, 64, seed=1)
    options: dict[str, Any] = {"objective": "logit", "correction": "positive", "aggregation": "sum"}
    found = guide(model, image, [other], 3, 1, method=Method(**options))
    expected = interpret(model, normalised(found.joined[0]), 3, **options)
    assert relative(found.joined_scores, expected.scores) < 1e-5
    assert (found.provenance.objective, found.provenance.correction) == ("logit", "positive")


def test_classes_that_are_not_given_are_what_the_model_sees_in_each_picture_alone(model: nn.Module) -> None:
    shown = [noise(64, 64, seed) for seed in range(20)]
    config = {"crop_pct": 0.9, "size": 71}  # of this model: the short side to 71 pixels, then the middle 64
    seen = []
    for picture in shown:
        enlarged = picture.resize((config["size"], config["size"]), Image.Resampling.BICUBIC)  # type: ignore[arg-type]
        with torch.no_grad():
            seen.append(int(model(normalised(enlarged.crop((4, 4, 68, 68)))).argmax()))
    other = next(n for n in range(20) if seen[n] != seen[0])
    found = guide(model, shown[0], [shown[other]])
    assert (found.target, found.against) == (seen[0], (seen[other],))
    same = next(n for n in range(1, 20) if seen[n] == seen[0])
    with pytest.raises(InterpretError, match=rf"guide 2 shows to the model class {seen[0]}"):
        guide(model, shown[0], [shown[other], shown[same]])
    with pytest.raises(InterpretError, match="guide 1 is said to show class 3"):
        guide(model, shown[0], [shown[other]], 3, 3)
    # Whoever says what it shows is believed.
    assert guide(model, shown[0], [shown[same]], seen[0], seen[other]).against == (seen[other],)


def test_a_custom_head_and_a_wide_input_work() -> None:
    wide = tiny("vit_tiny_patch16_224", torch.float32, img_size=(32, 96), embed_dim=32, depth=2, num_heads=2)
    head = nn.Linear(32, 4)
    found = guide(wide, noise(50, 50), [noise(30, 60, 1)], 3, 0, layout=Layout(ratio=0.3), head=head)
    assert found.joined[0].size == (96, 32) and found.each.shape == (1, 2, 2) and found.logits.shape == (1, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": {"ratio": 0.0}}, r"ratio=0.0 leaves no patch.*4 columns of patches, 0.25 to 0.75"),
        ({"layout": {"ratio": 0.1, "side": "top"}}, r"ratio=0.1.*4 rows"),
        ({"layout": {"ratio": 1.0}}, "ratio=1.0"),
        ({"layout": {"ratio": -3.0}}, "ratio=-3.0"),
        ({"layout": {"ratio": float("nan")}}, "ratio=nan"),
        ({"layout": {"side": "above"}}, "side='above'.*left, right, top, bottom"),
        ({"layout": {"fit": "squash"}}, "fit='squash'.*crop, pad, stretch"),
        ({"guides": []}, "guides: give a list"),
        ({"guides": noise(8, 8)}, "guides: give a list"),
        ({"guides": ["dog.jpg"]}, r"guides\[0\]: expected a PIL picture, got str"),
        ({"image": np.zeros((8, 8, 3), np.uint8)}, "image: expected a PIL picture, got ndarray"),
        ({"against": [1, 2]}, "against: 2 classes for 1 guides"),
        ({"against": 99}, "against: class 99 is out of range"),
        ({"method": {"objective": "logits"}}, "objective='logits'"),
        ({"head": lambda features: features[:, :2] * 0}, "guide 1 the map of the picture is zero everywhere"),
    ],
)
def test_what_cannot_guide_is_named(model: nn.Module, change: dict[str, Any], message: str) -> None:
    arguments = {"image": noise(64, 64), "guides": [noise(64, 64, 1)], "target": 0, "against": 1, **change}
    with pytest.raises(InterpretError, match=message):
        layout, method = Layout(**arguments.pop("layout", {})), Method(**arguments.pop("method", {}))
        guide(model, **arguments, layout=layout, method=method)


@contextmanager
def calls(model: nn.Module) -> Iterator[list[None]]:
    """A list that grows with each pass through the model's first block."""
    counted: list[None] = []
    handle = model.get_submodule("blocks.0").register_forward_pre_hook(lambda *_: counted.append(None))
    yield counted
    handle.remove()


def test_a_model_without_patches_is_refused() -> None:
    with pytest.raises(GradattnError) as caught:
        guide(nn.Sequential(nn.Conv2d(3, 4, 3)), noise(8, 8), [noise(8, 8, 1)], 0, 1)
    assert isinstance(caught.value, ModelError)


def test_detail_gives_every_ordered_pair_of_each_images_likeliest_classes(model: nn.Module) -> None:
    images = pictures(3)
    found = detail(model, images, 3, method=Method(correction="centred"))
    with torch.no_grad():
        likeliest = model(images).topk(3, dim=1).indices
    assert torch.equal(found.classes, likeliest)
    assert found.scores.shape == (3, 3, 3, 4, 4) and not found.scores[:, range(3), range(3)].any()
    for i, j in permutations(range(3), 2):
        single = interpret(model, images, likeliest[:, i], likeliest[:, j], correction="centred")
        assert relative(found.scores[:, i, j], single.scores) < 1e-6
    with torch.no_grad():
        softmax = model(images).softmax(1)
    assert relative(found.probabilities, softmax.gather(1, likeliest)) < 1e-5


def test_detail_takes_classes_as_given_and_swapping_them_swaps_the_sign_of_a_sum(model: nn.Module) -> None:
    found = detail(model, pictures(2), (5, 0, 3), method=Method(aggregation="sum"))
    assert found.classes.tolist() == [[5, 0, 3]] * 2
    assert relative(found.scores, -found.scores.transpose(1, 2)) < 1e-5
    product = detail(model, pictures(2), (5, 0, 3), method=Method())
    assert product.log_odds is None and product.base is None
    assert relative(product.scores, -product.scores.transpose(1, 2)) > 1e-4


def test_detail_adds_up_for_every_pair_at_half_the_passes_unless_asked_otherwise(model: nn.Module) -> None:
    images = pictures(2)
    with calls(model) as counted:
        found = detail(model, images, (5, 0, 3))
    assert found.provenance.correction == "secant"
    assert found.log_odds is not None and found.base is not None
    torch.testing.assert_close(found.scores.sum((3, 4)), found.log_odds - found.base, rtol=1e-4, atol=1e-4)
    for i, j in permutations(range(3), 2):
        single = interpret(model, images, found.classes[:, i], found.classes[:, j], correction="secant")
        assert relative(found.scores[:, i, j], single.scores) < 1e-5
        torch.testing.assert_close(found.log_odds[:, i, j], single.log_odds)
        torch.testing.assert_close(found.base[:, i, j], single.base)
    with calls(model) as one:
        interpret(model, images, 5, 0, correction="secant")
    assert len(counted) == 3 + len(one) - 1, "f and f without a picture are asked once"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1}, "classes=1: choose from 2 to the 7"),
        ({"classes": 8}, "classes=8"),
        ({"classes": [2]}, r"classes=\[2\]"),
        ({"classes": [2, 2]}, "different"),
        ({"classes": [2, 7]}, "class 7 is out of range"),
        ({"classes": 2.5}, "classes=2.5"),
        ({"classes": ["dog", "cat"]}, "class indices"),
        ({"method": {"objective": "logit"}}, "objective"),
        ({"method": {"objective": lambda logits: logits[:, 0]}}, "objective"),
        ({"method": {"correction": "relative"}}, "correction='relative'"),
        ({"images": torch.zeros(3, 64, 64)}, "images: expected a batch"),
    ],
)
def test_what_cannot_be_compared_in_detail_is_named(model: nn.Module, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InterpretError, match=message):
        method = Method(**arguments.get("method", {}))
        detail(model, **{"images": pictures(1), **arguments, "method": method})
