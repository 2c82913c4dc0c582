"""TF32 on a GPU: which switches stand how for whom, and what its rounding does to a map, emulated on this CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from gradattn_core.attention import routes
from gradattn_core.attention.precision import full_float32, product_precision, products_in
from gradattn_core.attention.routes import only
from gradattn_core.audit.computing import exact_anyway
from gradattn_core.audit.stored_maps import MAPS, _can_stand, with_facts
from gradattn_core.config import AuditConfig, ModelSpec
from gradattn_core.files import write_parquet
from gradattn_core.interpret.maps import Interpretation, interpret
from gradattn_core.model.backbone import load_model
from gradattn_core.model.device import map_precision
from gradattn_core.model.preprocessing import preprocessed
from tests.helpers.explicit_maps import tiny

# The operators whose operands the units of a GPU round.
_ROUNDED = {"mm", "addmm", "bmm", "baddbmm", "baddbmm_", "convolution", "linear"}


class Rounding(TorchDispatchMode):
    """Operands of every product of float32 lose the 13 last of their 23 bits, as in units of TF32; sums stay."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _ROUNDED:
            self.products += 1
            # What is added to the product, or holds its result, is no operand.
            first = 1 if "add" in func.overloadpacket.__name__ else 0
            args = [rounded(each) if first <= at < first + 2 else each for at, each in enumerate(args)]
        return func(*args, **(kwargs or {}))


def rounded(value: Any) -> Any:
    """To the nearest of TF32, ties to even."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    bits = value.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def test_rounding_keeps_ten_bits() -> None:
    values = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -(1 + 2**-12), 3.0e38])
    assert rounded(values).tolist()[:5] == [1.0, 1 + 2**-10, 1.0, 1 + 2**-9, -1.0]


def in_tf32(model: nn.Module, images: Tensor, correction: str) -> tuple[Interpretation, Interpretation]:
    """The map as a GPU draws it, exact and with every product rounded."""
    with sdpa_kernel(SDPBackend.MATH):
        exact = interpret(model, images, 0, 3, correction=correction)
        with Rounding() as mode:
            rough = interpret(model, images, 0, 3, correction=correction)
    assert mode.products > 20
    return exact, rough


def compared(exact: Interpretation, rough: Interpretation) -> tuple[float, float, float]:
    """The greatest difference in parts of the greatest score, the least r, the share of strong signs that turned."""
    one, other = exact.normalised.flatten(1), (rough.scores / exact.scores.abs().amax((1, 2), keepdim=True)).flatten(1)
    r = min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(one, other, strict=True))
    strong = one.abs() > 0.05
    return float((one - other).abs().max()), r, float((one.sign() != other.sign())[strong].float().mean())


@pytest.mark.parametrize("correction", ["secant", "complete", "centred"])
def test_a_map_in_tf32_is_the_same_map_to_a_hundredth_and_adds_up(correction: str) -> None:
    model = tiny("vit_medium_patch16_reg4_gap_256", embed_dim=48, depth=4, num_heads=3, img_size=64).float()
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    exact, rough = in_tf32(model, images, correction)
    difference, r, turned = compared(exact, rough)
    # Random weights are harder than a trained model's, of which the slow test has photographs.
    assert 1e-5 < difference < 2e-2 and r > 0.9999 and turned == 0
    assert float((exact.logits - rough.logits).abs().max()) < 5e-3 * float(exact.logits.abs().max())
    if correction == "secant":
        assert rough.log_odds is not None and rough.base is not None and exact.log_odds is not None
        # To the last digits, whatever the products were rounded to.
        sums = rough.scores.double().sum((1, 2)) - (rough.log_odds - rough.base).double()
        assert float(sums.abs().max()) < 1e-5
        assert float((exact.log_odds - rough.log_odds).abs().max()) < 5e-3 * float(exact.logits.abs().max())


@pytest.mark.slow
def test_maps_of_photographs_in_tf32_are_the_same_maps_to_a_hundredth(shared_data: Path) -> None:
    model = load_model(
        ModelSpec("vit_tiny_patch16_224", str(shared_data / "weights" / "vit_tiny_patch16_224.safetensors"))
    )
    files = sorted((shared_data / "data" / "imagenette").rglob("*.JPEG"))[::150][:8]
    images = preprocessed(model, [Image.open(file).convert("RGB") for file in files])
    for correction in ("secant", "complete", "centred"):
        difference, r, turned = compared(*in_tf32(model, images, correction))
        assert difference < 1.5e-2 and r > 0.9999 and turned == 0, (correction, difference, r, turned)


def switches() -> tuple[str, str, str, bool, bool]:
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    return (
        *(cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, matmul.fp32_precision),
        *(cudnn.allow_tf32, matmul.allow_tf32),
    )


EXACT, ROUGH = ("ieee", "ieee", "none", False, False), ("tf32", "tf32", "tf32", True, True)


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = switches()
    yield
    assert switches() == before == ("tf32", "tf32", "none", True, False)


def test_within_tf32_all_products_are_and_full_float32_is_nothing() -> None:
    with products_in("tf32"):
        assert switches() == ROUGH
        with full_float32():
            assert switches() == ROUGH
        model = tiny("vit_tiny_patch16_224", embed_dim=16, depth=1, num_heads=1, img_size=32).float()
        seen: list[tuple[str, str, str, bool, bool]] = []
        model.patch_embed.proj.register_forward_hook(lambda *_: seen.append(switches()))  # type: ignore[union-attr]
        interpret(model, torch.zeros(1, 3, 32, 32), 0, 1)
        assert set(seen) == {ROUGH}
        with products_in("float32"):
            assert switches() == EXACT
        assert switches() == ROUGH
    with pytest.raises(ZeroDivisionError), products_in("tf32"):
        raise ZeroDivisionError


def test_no_other_thread_s_numbers_become_less_exact() -> None:
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with full_float32():
            seen.append(switches())
            entered.set()
            leave.wait(60)

    with products_in("tf32"):
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(60)
        assert switches() == EXACT == seen[0]
        leave.set()
        thread.join()
        assert switches() == ROUGH


def test_a_program_s_own_choice_of_products_comes_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        own = switches()
        with products_in("tf32"):
            assert switches() == ROUGH
        assert switches() == own and torch.get_float32_matmul_precision() == "high"
        with full_float32():
            assert switches()[2] == "tf32", "whoever asks torch for rounded products has them"
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]


def test_provenance_says_in_which_precision_products_were_made() -> None:
    model = tiny("vit_tiny_patch16_224", embed_dim=16, depth=1, num_heads=1, img_size=32)
    with products_in("tf32"):
        # A CPU knows no TF32, whatever the switches say.
        assert interpret(model.float(), torch.ones(1, 3, 32, 32), 0, 1).provenance.precision == "float32"
        card: Any = SimpleNamespace(is_cuda=True, dtype=torch.float32)
        assert product_precision(card) == "tf32"
        assert product_precision(SimpleNamespace(is_cuda=True, dtype=torch.float16)) == "float16"  # type: ignore[arg-type]
    assert product_precision(card) == "float32"
    half = interpret(model.bfloat16(), torch.ones(1, 3, 32, 32).bfloat16(), 0, 1)
    assert half.provenance.precision == "bfloat16"


def test_which_maps_are_in_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended: cards of before and since Ampere."""
    cpu, card = torch.device("cpu"), torch.device("cuda")
    assert [map_precision(name, cpu) for name in ("auto", "float32", "tf32")] == ["float32"] * 3
    for major, expected in ((7, "float32"), (8, "tf32"), (9, "tf32")):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, major=major: SimpleNamespace(major=major, minor=0)
        )
        assert [map_precision(name, card) for name in ("auto", "tf32")] == [expected] * 2
        assert map_precision("float32", card) == "float32"


def test_tf32_that_a_device_has_not_is_told_of(tmp_path: Path) -> None:
    asked = AuditConfig(dataset=str(tmp_path), map_precision="tf32")
    with pytest.warns(UserWarning, match="Maps are drawn in float32: CPU has no units for tf32"):
        (note,) = exact_anyway(asked, torch.device("cpu"))
    assert note.endswith("since A100.")
    assert not exact_anyway(AuditConfig(dataset=str(tmp_path)), torch.device("cpu"))


def test_a_map_in_tf32_stands_for_no_exact_one(tmp_path: Path) -> None:
    file = tmp_path / "maps.parquet"
    outputs = '[["cat", 0]]'
    for drawn, fits in (("tf32", ("tf32",)), ("float32", ("float32", "tf32"))):
        write_parquet(file, with_facts(MAPS.empty_table(), {"cat": 0}, 0, drawn))
        assert tuple(each for each in ("float32", "tf32") if _can_stand(file, outputs, each)) == fits
        assert not _can_stand(file, '[["dog", 0]]', drawn)
    # Of before there was a choice.
    write_parquet(file, MAPS.empty_table().replace_schema_metadata({"outputs": outputs}))
    assert _can_stand(file, outputs, "float32")
    write_parquet(file, pa.table({"path": ["a"]}))
    assert not _can_stand(file, outputs, "float32") and not _can_stand(tmp_path / "none", outputs, "float32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("correction", ["secant", "complete", "centred"])
def test_a_gpu_s_map_in_tf32_is_that_of_the_cpu_to_two_hundredths(correction: str) -> None:
    """By every route that the card has, and with none."""
    model = tiny("vit_medium_patch16_reg4_gap_256", embed_dim=192, depth=4, num_heads=3, img_size=224)
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact = interpret(model, images, 0, 3, correction=correction)
    moved, pixels = model.float().cuda(), images.float().cuda()
    for route in ("", "columns", "kernel", "blocks"):
        with products_in("tf32"), only(route):
            rough = interpret(moved, pixels, 0, 3, correction=correction)
        assert rough.provenance.precision == "tf32"
        assert float((rough.scores.cpu() - exact.scores).abs().max()) < 2e-2 * float(exact.scores.abs().max())
    assert any(routes._tried.values()), "the card's own routes were taken"
