"""The kernel in Triton: run on this CPU by Triton's interpreter, and compiled for GPUs that are not here.

Triton is told to interpret before it is imported, so those tests run in a process of their own, which
``test_the_kernel_s_numbers`` starts with this very file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gradattn_core.attention import routes
from gradattn_core.attention.columns import kept_by
from gradattn_core.attention.routes import only
from gradattn_core.attention.rows import AttentionCall, corrected_row
from gradattn_core.attention.terms import KeyTerms, key_terms
from gradattn_core.interpret.maps import interpret
from gradattn_core.methods import PAPER_CORRECTIONS
from tests.attention.test_backward import recorded
from tests.attention.test_key_terms import RULES, written_out
from tests.helpers.explicit_maps import relative, tiny

interpreted = pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="test_the_kernel_s_numbers runs it")
CALLS = [
    ((1, 2, 150, 150), 64, "none", torch.float32),
    ((1, 2, 70, 70), 80, "added", torch.float16),
    ((2, 2, 33, 33), 32, "kept", torch.float32),
    ((3, 1, 5, 150), 8, "added", torch.float32),
]
"""With more keys than a tile has, fewer, and fewer queries; depths that are no power of two. bfloat16 the
interpreter multiplies by its bits, as if they were whole numbers: only a GPU can show that."""


def test_the_kernel_s_numbers() -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux only")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--noconftest", __file__]
    done = subprocess.run(
        [*command, "-k", "interpreted"], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\b10 passed", done.stdout) and "skipped" not in done.stdout, done.stdout[-400:]


@interpreted
def test_interpreted_it_is_imported_for_a_gpu_alone() -> None:
    # The first of this process's tests: nothing has needed it yet.
    model = tiny("vit_tiny_patch16_224", embed_dim=16, depth=1, num_heads=1, img_size=32).float()
    interpret(model, torch.zeros(1, 3, 32, 32), 0, 1)
    assert "gradattn_core.attention.kernel" not in sys.modules


@interpreted
@pytest.mark.parametrize(("shape", "depth", "kind", "dtype"), CALLS, ids=str)
def test_interpreted_rows_are_those_of_the_written_out_formula(
    shape: tuple[int, int, int, int], depth: int, kind: str, dtype: torch.dtype
) -> None:
    call, gradient, row, _, rows = recorded(shape, kind, dtype, depth)
    for correction in PAPER_CORRECTIONS:
        found = routes._kernel().kernel_row(call, gradient, row, slice(0, shape[2]), correction)
        assert found.dtype == torch.float32
        assert relative(found, rows[correction].detach()) < (2e-5 if dtype == torch.float32 else 2e-3), correction
    # In parts of its queries, such as those of the prefix tokens, it is that of torch's products.
    some = slice(1, 4)
    beside = corrected_row(call, gradient, row, some, "centred")
    assert relative(routes._kernel().kernel_row(call, gradient, row, some, "centred"), beside) < 1e-3


@interpreted
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_interpreted_terms_are_those_of_the_written_out_formula(rule: KeyTerms) -> None:
    for shape, depth, _, dtype in CALLS[:2]:
        call, gradient, _, _, _ = recorded(shape, "added", dtype, depth)
        found = routes._kernel().kernel_terms(call, gradient, rule, slice(0, shape[2]))
        assert found.dtype == torch.float32
        assert relative(found, written_out(call, gradient, rule)) < (5e-5 if dtype == torch.float32 else 5e-3)
    few = routes._kernel().kernel_terms(call, gradient, rule, slice(0, 3))
    assert relative(few, key_terms(call, gradient, rule, slice(0, 3))) < 1e-3
    assert torch.equal(few, routes._kernel().kernel_terms(call, gradient, rule, slice(0, 3))), "to the bit again"


@interpreted
def test_interpreted_whole_maps_are_the_same_maps() -> None:
    """q, k and v are views of one projection here, as models have them."""
    model = tiny("vit_medium_patch16_reg4_gap_256", embed_dim=40, depth=2, num_heads=2, img_size=48).float()
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    for correction in ("secant", "positive"):
        expected = interpret(model, images, 0, 3, correction=correction)
        with only("kernel"):
            found = interpret(model, images, 0, 3, correction=correction)
        assert float((found.scores - expected.scores).abs().max()) < 5e-5 * float(expected.scores.abs().max())
    assert set(routes._tried.values()) == {True} and len(routes._tried) == 2


def compiled(product: str, dtype: str, depth: int, capability: int) -> Any:
    """The kernel for a card that is not here, with what its launch would say."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = routes._kernel()
    kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    room = max(16, triton.next_power_of_2(depth))
    high, wide, warps, stages = kernel._tile(product == "tf32x3", kind, room)
    settled = {"mode": 4, "masked": 1, "depth": depth, "room": room, "high": high, "wide": wide, "product": product}
    names = kernel._visit.arg_names
    kinds = {name: "i32" for name in names} | dict.fromkeys(("scale", "weight", "even", "least"), "fp32")
    kinds |= {name: "*fp32" for name in names if name.endswith("_at")}
    kinds |= {f"{name}_at": f"*{dtype}" for name in ("q", "k", "v", "g", "mask")} | dict.fromkeys(settled, "constexpr")
    source = ASTSource(
        fn=kernel._visit, signature=kinds, constexprs={(names.index(name),): value for name, value in settled.items()}
    )
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="an interpreted kernel is not compiled")
@pytest.mark.parametrize(
    ("product", "dtype", "depth", "capability"),
    [
        ("tf32", "fp16", 64, 90),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("tf32", "fp32", 64, 80),
                ("tf32", "fp32", 64, 90),
                ("tf32x3", "fp32", 64, 80),
                ("tf32x3", "fp32", 64, 90),
                ("tf32", "bf16", 64, 80),
                ("tf32", "fp32", 32, 90),
                ("tf32x3", "fp32", 80, 80),
                ("tf32", "fp32", 80, 90),
                ("tf32", "fp16", 80, 90),
            )
        ),
    ],
)
def test_it_compiles_for_cards_that_are_not_here(
    product: str, dtype: str, depth: int, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler refuses what the interpreter takes; a program's tiles must fit into a card's shared memory."""
    pytest.importorskip("triton", reason="Triton is made for Linux only")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = compiled(product, dtype, depth, capability)
    assert found.metadata.shared <= {80: 166_912, 90: 232_448}[capability]
    assert "mma" in found.asm["ptx"], "units for matrix products are used"


def test_without_triton_or_a_compiler_torch_alone_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("vit_tiny_patch16_224", embed_dim=32, depth=2, num_heads=2, img_size=32).float()
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    expected = interpret(model, images, 0, 3, correction="secant").scores
    monkeypatch.setattr(routes, "_tried", {})
    # What a missing module and a kernel on a device that has no such compiler look like.
    for missing in (True, False):
        if missing:
            monkeypatch.setitem(sys.modules, "gradattn_core.attention.kernel", None)
        else:
            monkeypatch.undo()
            monkeypatch.setattr(routes, "_tried", {})
        with only("kernel"):
            found = interpret(model, images, 0, 3, correction="secant").scores
        assert list(routes._tried.values()) == [False]
        assert float((found - expected).abs().max()) < 2e-5 * float(expected.abs().max())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_gpu_runs_the_kernel(dtype: torch.dtype) -> None:
    """Rows and terms against this CPU's double precision, for every depth, tokens beside a tile's edge included."""
    tolerance = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
    for tokens, depth in ((197, 64), (785, 64), (257, 80), (129, 32)):
        exact, gradient, row, _, rows = recorded((2, 4, tokens, tokens), "added", torch.float64, depth)
        sources = [each.to("cuda", dtype).requires_grad_(True) for each in (exact.query, exact.key, exact.value)]
        mask = None if exact.mask is None else exact.mask.to("cuda", dtype)
        output = F.scaled_dot_product_attention(sources[0], sources[1], sources[2], attn_mask=mask)
        query, key, value = (each.detach() for each in sources)
        call = AttentionCall(query, key, value, mask, depth**-0.5, output.detach(), None, "blocks", kept_by(output))
        for correction in PAPER_CORRECTIONS:
            assert routes._works("kernel", call, kept_by(output), correction)  # type: ignore[arg-type]
            given = gradient.to("cuda", dtype), row.cuda(), slice(0, tokens)
            found = routes.row_beside(replace(call, route="kernel"), *given, correction)
            assert relative(found.cpu(), rows[correction].detach()) < tolerance
        for rule in RULES:
            terms = routes.terms_beside(
                replace(call, route="kernel"), gradient.to("cuda", dtype), rule, slice(0, tokens)
            )
            assert relative(terms.cpu(), written_out(exact, gradient, rule)) < tolerance
