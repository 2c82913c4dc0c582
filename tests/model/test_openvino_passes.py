"""A sweep's passes by OpenVINO say what torch says, or say why there are none."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradattn_core.errors import ModelError
from gradattn_core.model.forward import Forward, forward
from gradattn_core.model.openvino_passes import begun_pass
from tests.model.test_half import FAMILIES, family, off

installed = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is an extra: pip install '.[openvino]'")
PARTS = ("logits", "readout", "features")


@installed
@pytest.mark.parametrize("key", FAMILIES)
def test_it_says_what_torch_says(key: str) -> None:
    model, images = family(key)
    exact = forward(model, images)
    found = begun_pass(model, images, "float32")()
    assert found.precision == "float32" and max(off(found, exact, name) for name in PARTS) < 1e-5
    # Roundings of three blocks; a number in a wrong place would be off by about one.
    rounded = begun_pass(model, images, "bfloat16")()
    assert rounded.precision == "bfloat16" and max(off(rounded, exact, name) for name in PARTS) < 0.06


@installed
@pytest.mark.parametrize("count", [1, 7, 8, 9, 21])
def test_pictures_keep_their_order_however_many_there_are_and_however_many_wait(count: int) -> None:
    model, _ = family("vit")
    batches = list(torch.randn(3, count, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    under_way = [begun_pass(model, batch, "float32") for batch in batches]
    for batch, answered in zip(batches, under_way, strict=True):
        assert_same(answered(), forward(model, batch))


@installed
def test_a_model_without_a_classifier_has_no_logits() -> None:
    model, images = family("vit")
    model.reset_classifier(0)  # type: ignore[operator]
    found = begun_pass(model, images, "float32")()
    assert found.logits.shape == (len(images), 0)
    assert_same(found, forward(model, images))


@installed
def test_it_is_converted_once_anew_where_a_weight_changes_and_gone_with_its_model() -> None:
    model, images = family("vit")
    calls: list[Tensor] = []
    model.patch_embed.register_forward_pre_hook(lambda _module, inputs: calls.append(inputs[0]))  # type: ignore[union-attr]
    before = begun_pass(model, images, "float32")()
    converting = len(calls)
    begun_pass(model, images, "float32")()
    assert len(calls) == converting > 0
    model.get_parameter("blocks.1.mlp.fc1.weight").mul_(2)
    after = begun_pass(model, images, "float32")()
    assert not torch.equal(after.logits, before.logits)
    assert_same(after, forward(model, images))
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


@installed
def test_a_model_that_cannot_be_converted_is_refused_by_its_name() -> None:
    class Odd(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            # An operation of torch that no other library has.
            result: Tensor = torch.ops.aten._euclidean_dist(values[0], values[0]).sum() + values
            return result

    model, images = family("vit")
    model.norm = Odd()
    with pytest.raises(ModelError, match=r"computed by OpenVINO \(No .+_euclidean_dist\); engine 'torch'"):
        begun_pass(model, images, "float32")
    with pytest.raises(ModelError, match=r"does not compute in float16 .* choose precision 'float32'"):
        begun_pass(model, images, "float16")


@installed
def test_what_is_not_finite_is_computed_by_torch_in_float32_and_counted() -> None:
    model, images = family("vit")
    images[0] = torch.nan
    assert begun_pass(model, images, "bfloat16")().precision == "float32"


@installed
def test_it_tells_nobody_of_being_used(tmp_path: Path) -> None:
    code = "from gradattn_core.model.openvino_passes import usable_openvino; print(usable_openvino('float32'))"
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path), "CI": ""}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("20") and not list(tmp_path.iterdir())


def assert_same(found: Forward, exact: Forward) -> None:
    for name in PARTS:
        torch.testing.assert_close(getattr(found, name), getattr(exact, name), rtol=1e-4, atol=1e-4)
