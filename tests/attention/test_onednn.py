"""Linear layers by oneDNN: the numbers and gradients of torch's own, and only where they are asked for and pay."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from gradattn_core.attention import onednn
from gradattn_core.attention.onednn import OneDnnLinear, linear_by_onednn, linear_by_torch
from gradattn_core.attention.precision import full_float32
from gradattn_core.interpret import interpret
from gradattn_core.model.forward import forward
from tests.helpers.explicit_maps import vit

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch is without oneDNN")
CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Products(TorchDispatchMode):
    """Counts products by oneDNN, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls += func is torch.ops.mkldnn._linear_pointwise.default
        return func(*args, **(kwargs or {}))


@pytest.fixture
def another_maker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor on which oneDNN is the faster one, whatever runs the tests."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "sse4a": True})
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    onednn.multiplies_faster.cache_clear()
    yield
    onednn.multiplies_faster.cache_clear()


INPUTS: dict[str, Tensor] = {
    "rows": drawn(70, 256),
    "pictures": drawn(4, 17, 256),
    "five axes": drawn(2, 2, 2, 9, 256),
    "turned": drawn(256, 17, 4).transpose(0, 2),
    "repeated": drawn(9, 1, 256).expand(9, 8, 256),
    "every other number": drawn(4, 17, 512)[..., ::2],
    "first tokens": drawn(70, 2, 256)[:, 0],
}
WEIGHTS: dict[str, tuple[Tensor, Tensor | None]] = {
    "usual": (drawn(256, 256, seed=1), drawn(256, seed=2)),
    "no bias": (drawn(256, 256, seed=1), None),
    "turned weight": (drawn(256, 320, seed=1).t(), drawn(320, seed=2)),
}


@pytest.mark.parametrize(
    ("input", "weights"), [*((name, "usual") for name in INPUTS), *(("pictures", name) for name in WEIGHTS)]
)
def test_values_and_gradients_are_those_of_torch_to_the_rounding(input: str, weights: str) -> None:
    tensors = [each for each in (INPUTS[input], *WEIGHTS[weights]) if each is not None]

    def answers(make: Callable[[Tensor], Tensor], within: Any) -> tuple[Tensor, ...]:
        leaves = [make(each).requires_grad_(True) for each in tensors]
        with within:
            result = F.linear(*leaves)
        flow = make(drawn(*result.shape, seed=3))
        turned = torch.autograd.grad(result, leaves, flow, retain_graph=True)
        return (result, *turned, *torch.autograd.grad(result.sum(), leaves))

    with Products() as products:
        found = answers(Tensor.detach, OneDnnLinear())
    # A pass forward, and input and weight twice on the way back.
    assert products.calls == 5
    exact = answers(lambda each: each.detach().double(), torch.enable_grad())
    for one, other in zip(found, exact, strict=True):
        assert one.shape == other.shape and one.dtype == torch.float32
        assert float((one - other).detach().abs().max()) <= 3e-6 * float(other.detach().abs().max())
    with torch.inference_mode(), OneDnnLinear():
        assert torch.equal(F.linear(*(each.clone() for each in tensors)), found[0])


def test_what_needs_no_gradient_gets_none_and_is_not_kept() -> None:
    rows, weight = drawn(64, 256).requires_grad_(True), drawn(256, 256, seed=1)
    with OneDnnLinear():
        frozen, first = F.linear(rows, weight), F.linear(rows.detach(), weight.clone().requires_grad_(True))
    kept = [[each is not None for each in result.grad_fn.saved_tensors] for result in (frozen, first)]  # type: ignore[union-attr]
    assert kept == [[False, True], [True, False]]
    with torch.no_grad(), OneDnnLinear():
        assert not F.linear(rows, weight).requires_grad


def test_a_gradient_can_be_differentiated_once_more() -> None:
    rows, weight, bias = drawn(64, 256).requires_grad_(True), drawn(256, 256, seed=1).requires_grad_(True), drawn(256)
    seconds = []
    for within in (OneDnnLinear(), torch.enable_grad()):
        with within:
            result = F.linear(rows, weight, bias)
        first = torch.autograd.grad(result.square().sum(), rows, create_graph=True)[0]
        seconds.append(torch.autograd.grad(first.square().sum(), (rows, weight)))
    for one, other in zip(*seconds, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def dual(rows: Tensor, weight: Tensor) -> Tensor:
    with forward_ad.dual_level():
        answer = F.linear(forward_ad.make_dual(rows, torch.ones_like(rows)), weight)
        tangent: Tensor | None = forward_ad.unpack_dual(answer).tangent
    assert tangent is not None
    return tangent


OTHERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "float64": lambda rows, weight: F.linear(rows.double(), weight.double()),
    "few": lambda rows, weight: F.linear(rows[:63], weight),
    "none": lambda rows, weight: F.linear(rows[:0], weight),
    "one picture's answer": lambda rows, weight: F.linear(rows[0].repeat(64), weight.repeat(1, 64)),
    "part of a weight": lambda rows, weight: F.linear(rows, weight.repeat(1, 2)[:, 128:384]),
    "forward mode": dual,
    "a transform": lambda rows, weight: torch.func.grad(lambda x: F.linear(x, weight).square().sum())(rows),
    "a batch of weights": lambda rows, weight: torch.vmap(F.linear)(rows.expand(2, -1, -1), weight.expand(2, -1, -1)),
    "jvp": lambda rows, weight: torch.func.jvp(lambda x: F.linear(x, weight), (rows,), (rows,))[1],
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_rest_is_left_to_torch(what: str) -> None:
    rows, weight = drawn(64, 256), drawn(256, 256, seed=1)
    plain = OTHERS[what](rows, weight)
    with OneDnnLinear(), Products() as products:
        assert torch.equal(OTHERS[what](rows, weight), plain) and products.calls == 0


def test_autocast_and_a_switch_of_torch_keep_their_meaning() -> None:
    rows, weight = drawn(64, 256), drawn(256, 256, seed=1)
    with OneDnnLinear(), Products() as products:
        with torch.autocast("cpu", torch.bfloat16):
            assert F.linear(rows, weight).dtype == torch.bfloat16
        with torch.backends.mkldnn.flags(enabled=False):
            F.linear(rows, weight)
        assert products.calls == 0


@pytest.mark.slow
def test_what_a_compiler_has_in_hand_is_left_to_it() -> None:
    layer = torch.nn.Linear(256, 256)
    rows = drawn(64, 256)
    with OneDnnLinear(), torch.no_grad():
        compiled = torch.compile(layer, backend="eager")(rows)
        torch.testing.assert_close(compiled, layer(rows))


@pytest.mark.usefixtures("another_maker")
def test_passes_maps_and_origins_are_made_by_it_on_a_cpu() -> None:
    model = vit(embed_dim=128, num_heads=2).float()
    images = drawn(40, 3, 64, 64)
    with Products() as products:
        inside = forward(model, images[:8])
        swept, products.calls = products.calls, 0
        drawn_map = interpret(model, images, 0, 1).scores
    # Those of the first block's queries, keys and values need no way back: its attention is the end of it.
    assert swept > 0 and products.calls > 1.5 * swept
    onednn.multiplies_faster.cache_clear()
    with pytest.MonkeyPatch.context() as patch, Products() as products:
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "sse4a": False})
        outside = forward(model, images[:8])
        torch.testing.assert_close(drawn_map, interpret(model, images, 0, 1).scores, rtol=1e-3, atol=1e-5)
    assert products.calls == 0
    torch.testing.assert_close(inside.features, outside.features, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("another_maker")
def test_it_holds_within_and_for_this_thread_alone() -> None:
    rows, weight = drawn(64, 256), drawn(256, 256, seed=1)
    seen: list[int] = []

    def count() -> None:
        with Products() as products:
            F.linear(rows, weight)
        seen.append(products.calls)

    with linear_by_onednn():
        with full_float32(CPU):
            count()
        count()
        other = threading.Thread(target=count)
        other.start()
        other.join()
    count()
    with full_float32(), full_float32(torch.device("cuda")):
        count()
    with linear_by_torch(), linear_by_onednn():
        count()
    with linear_by_onednn(), linear_by_torch():
        count()
    assert seen == [1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("can", "has_mkl", "faster"),
    [
        ({"avx512_f": True, "sse4a": True}, True, True),
        ({"avx512_f": True, "sse4a": False}, True, False),
        ({"avx512_f": False, "sse4a": True}, True, False),
        ({"avx512_f": True, "sse4a": True}, False, False),
        ({}, True, False),
    ],
    ids=["amd", "intel", "older", "without-mkl", "arm"],
)
def test_it_is_taken_where_torchs_own_is_the_slow_one(
    can: dict[str, bool], has_mkl: bool, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    onednn.multiplies_faster.cache_clear()
    assert onednn.multiplies_faster() is faster
    onednn.multiplies_faster.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_what_a_layer_frees_the_next_one_gets_without_the_system() -> None:
    """Without it every round asks for all its pages again."""
    code = """if True:
        import resource, torch
        from gradattn_core.attention.precision import full_float32
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(20):
                torch.cat([torch.ones(2 << 20) for _ in range(3)][:1])
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        first = faults()
        with full_float32(torch.device("cpu")):
            faults()
            print(first, faults())
    """
    answered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, now = map(int, answered.stdout.split())
    assert now < before / 10
