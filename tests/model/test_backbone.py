"""Loading a model, reading its features, and fine-tuning it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gradattn_core.attention.precision import full_float32
from gradattn_core.config import FineTuning, ModelSpec
from gradattn_core.errors import InterpretError, ModelError
from gradattn_core.interpret.hiding import ask_again
from gradattn_core.interpret.maps import interpret
from gradattn_core.model.backbone import load_model
from gradattn_core.model.device import pick_device
from gradattn_core.model.forward import answer, forward
from gradattn_core.model.training import finetune

NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
OVERLAY: dict[str, Any] = {"pretrained_cfg_overlay": {"input_size": (3, 32, 32)}}


def arguments(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **OVERLAY, **changes}


def small(**changes: Any) -> nn.Module:
    torch.manual_seed(1)
    model: nn.Module = timm.create_model(NAME, **arguments(**changes))
    return model.eval()


def saved(path: Path, **changes: Any) -> Path:
    save_file(small(**changes).state_dict(), str(path))
    return path


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_checkpoint_brings_its_weights_and_its_number_of_classes(tmp_path: Path, kind: str) -> None:
    source = small(num_classes=5)
    path = tmp_path / f"model.{kind}"
    if kind == "pth":
        torch.save({"state_dict": source.state_dict(), "epoch": 3}, path)
    else:
        save_file(source.state_dict(), str(path))
    model = load_model(ModelSpec(NAME, str(path), arguments()))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), source(images))
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_the_digest_is_that_of_the_checkpoints_bytes(tmp_path: Path) -> None:
    one, other = (saved(tmp_path / f"{n}.safetensors", num_classes=n) for n in (2, 3))
    same = tmp_path / "same.safetensors"
    same.write_bytes(one.read_bytes())
    digests = [ModelSpec(NAME, str(path)).digest() for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2] and len(digests[0]) == 32
    assert ModelSpec(NAME).digest() == ""


def test_a_headless_checkpoint_gives_features_and_no_logits(tmp_path: Path) -> None:
    model = load_model(ModelSpec(NAME, str(saved(tmp_path / "m.safetensors", num_classes=0)), arguments()))
    seen = forward(model, torch.randn(2, 3, 32, 32))
    assert seen.logits.shape == (2, 0) and seen.readout.shape == (2, 16)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vit_tiny_patch17_224", "did you mean .*vit_tiny_patch16_224"),
        ("???", "lists the names"),
        ("", "lists the names"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name: str, hint: str) -> None:
    with pytest.raises(ModelError, match=f"is not a timm model; .*{hint}"):
        load_model(ModelSpec(name, from_scratch=True))


def test_wrong_model_arguments_are_named() -> None:
    with pytest.raises(ModelError, match=r"cannot be built with .*no_such_argument"):
        load_model(ModelSpec(NAME, arguments={"no_such_argument": 1}, from_scratch=True))


def test_a_model_without_global_attention_is_refused_when_it_is_loaded() -> None:
    with pytest.raises(ModelError, match=r"resnet18 .*global self-attention \(ViT"):
        load_model(ModelSpec("resnet18", from_scratch=True))


def test_a_checkpoint_of_another_shape_is_refused_by_the_first_tensor(tmp_path: Path) -> None:
    path = saved(tmp_path / "wide.safetensors", embed_dim=24)
    with pytest.raises(
        ModelError, match=r"does not fit model .*blocks\.0\.attn\.proj\.bias is \[24\] there and \[16\]"
    ):
        load_model(ModelSpec(NAME, str(path), arguments()))


def test_a_checkpoint_of_another_depth_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    shallow, deep = (saved(tmp_path / f"{depth}.safetensors", depth=depth) for depth in (1, 3))
    with pytest.raises(ModelError, match=r"tensors are missing \(first blocks\.1"):
        load_model(ModelSpec(NAME, str(shallow), arguments()))
    with pytest.raises(ModelError, match=r"are unknown \(first blocks\.2"):
        load_model(ModelSpec(NAME, str(deep), arguments()))


def test_a_missing_checkpoint_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.safetensors"
    with pytest.raises(ModelError, match=f"checkpoint {path}: no such file"):
        load_model(ModelSpec(NAME, str(path), arguments()))


def test_a_folder_for_a_checkpoint_is_called_one_and_its_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(ModelError, match=r"is a folder, not a file; give a \.safetensors file"):
        load_model(ModelSpec(NAME, str(tmp_path), arguments()))
    for name in ("pytorch_model.bin", "last.pth.tar", "model.safetensors.index.json"):
        (tmp_path / name).touch()
    named = "one of the files in it: 'last.pth.tar', 'model.safetensors.index.json', 'pytorch_model.bin'$"
    with pytest.raises(ModelError, match=named):
        load_model(ModelSpec(NAME, str(tmp_path), arguments()))


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth", "empty.pth", "empty.safetensors", "text.pth"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("cut"):
        whole = tmp_path / "whole"
        save_file(small().state_dict(), str(whole)) if name.endswith("s") else torch.save(small().state_dict(), whole)
        path.write_bytes(whole.read_bytes()[:2000])
    else:
        path.write_bytes(b"" if name.startswith("empty") else b"these are no tensors")
    with pytest.raises(ModelError, match="cannot be read as plain tensors"):
        load_model(ModelSpec(NAME, str(path), arguments()))


class _Touch:
    """Unpickling this writes a file: the proof that code ran."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, protocol: str) -> None:
    path, proof = tmp_path / "evil.pth", tmp_path / "ran"
    if protocol == "torch":
        torch.save({"state_dict": {"head.weight": torch.zeros(2), "x": _Touch(proof)}}, path)
    else:
        path.write_bytes(pickle.dumps({"x": _Touch(proof)}))
    with pytest.raises(ModelError, match="cannot be read as plain tensors"):
        load_model(ModelSpec(NAME, str(path), arguments()))
    assert not proof.exists()


def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelError, match=r"numbers\.pth"):
        load_model(ModelSpec(NAME, str(path), arguments()))


def test_a_new_classifier_can_be_asked_for() -> None:
    assert load_model(ModelSpec(NAME, arguments=arguments(), from_scratch=True), num_classes=4).num_classes == 4


def test_devices_are_checked() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")
    for name in ("tpu9", "cuda:99", "meta"):
        with pytest.raises(ModelError, match=f"device '{name}'"):
            pick_device(name)


def test_an_answer_is_that_of_the_model_in_evaluation_mode_which_is_left_as_it_was() -> None:
    model: Any = small(num_classes=5, drop_rate=0.5)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected, features = model(images), model.forward_head(model.forward_features(images), pre_logits=True)
    model.train()
    torch.testing.assert_close(answer(model, images), expected)
    torch.testing.assert_close(answer(model, images, head=lambda seen: seen * 2), features * 2)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    half = answer(model.to(torch.bfloat16), images.to(torch.bfloat16))
    assert half.dtype == torch.float32 and not half.requires_grad


@pytest.mark.parametrize(
    ("images", "head", "message"),
    [
        (torch.zeros(3, 32, 32), None, r"images: expected a batch .* got \[3, 32, 32\]"),
        (torch.zeros(1, 3, 40, 40), None, "cannot take .*40"),
        (torch.zeros(1, 1, 32, 32), None, "images: 1 channels"),
        (torch.zeros(1, 3, 32, 32).double(), None, "images: torch.float64"),
        (torch.zeros(1, 3, 32, 32), "probe", "head: expected a callable from features to logits, got str"),
        (torch.zeros(1, 3, 32, 32), lambda features: features[0], r"head: expected logits \[1, K\], got \[16\]"),
    ],
)
def test_what_cannot_be_answered_is_named(images: Tensor, head: Any, message: str) -> None:
    with pytest.raises(InterpretError, match=message):
        answer(small(), images, head)


def test_features_are_class_token_and_mean_patch_of_four_depths() -> None:
    model: Any = small(depth=12, num_classes=5)
    images = torch.randn(3, 3, 32, 32)
    seen = forward(model, images)
    with torch.no_grad():
        last, between = model.forward_intermediates(images, indices=[5, 7, 9], return_prefix_tokens=True)
        expected = []
        for patches, prefix in between:
            expected += [prefix[:, 0], patches.mean((2, 3))]
        expected += [last[:, 0], last[:, 1:].mean(1)]
        torch.testing.assert_close(seen.features, torch.cat(expected, 1))
        torch.testing.assert_close(seen.logits, model(images))
        torch.testing.assert_close(model.get_classifier()(seen.readout), model(images))
    assert all(not module._forward_hooks for module in model.modules())


def test_features_of_a_model_without_class_token_are_mean_patches() -> None:
    model = small(depth=3, class_token=False, global_pool="avg", num_classes=5)
    # Depths 2 and 3 of 3: half, two thirds and five sixths of so few blocks fall together.
    assert forward(model, torch.randn(2, 3, 32, 32)).features.shape == (2, 2 * 16)


def stripes(count: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures of horizontal (0) or vertical (1) stripes with a random phase."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.arange(count) % 2
    phase = torch.rand(count, 1, generator=generator) * 6
    wave = torch.sin(torch.arange(32)[None] * 1.2 + phase)
    images = torch.where((targets == 0)[:, None, None], wave[:, :, None], wave[:, None, :]).expand(count, 32, 32)
    return images[:, None].repeat(1, 3, 1, 1) + 0.3 * torch.randn(count, 3, 32, 32, generator=generator), targets


def tuned(seed: int) -> tuple[nn.Module, list[tuple[int, int]]]:
    images, targets = stripes(64)

    def load(rows: Sequence[int]) -> Tensor:
        return images[list(rows)]

    steps: list[tuple[int, int]] = []
    settings = FineTuning(epochs=12, learning_rate=2e-3, batch_size=16)
    torch.manual_seed(0)
    model = timm.create_model(NAME, **arguments(num_classes=2, drop_rate=0.1))
    return finetune(model, load, targets, settings, seed=seed, progress=lambda *s: steps.append(s)), steps


def test_fine_tuning_learns_what_generalises_and_says_how_far_it_is() -> None:
    model, steps = tuned(seed=5)
    images, targets = stripes(164)
    accuracy = (model(images[64:]).argmax(1) == targets[64:]).float().mean()
    assert float(accuracy) > 0.9
    assert steps[0] == (16, 768) and steps[-1] == (768, 768)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_fine_tuning_depends_on_its_seed_and_on_nothing_else() -> None:
    first, again, other = (tuned(seed)[0].state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_float32_is_float32_in_convolutions_too_and_the_program_s_own_choice_comes_back() -> None:
    """By default cuDNN may round to TF32; what it may do is asked where the patches are embedded."""
    model: Any = small(num_classes=5)
    learner: Any = small(num_classes=5)
    cudnn: Any = torch.backends.cudnn
    switch, seen = cudnn.conv, []
    for each in (model, learner):
        each.patch_embed.proj.register_forward_hook(lambda *_: seen.append(switch.fp32_precision))
    images = torch.randn(2, 3, 32, 32)
    assert cudnn.allow_tf32 and switch.fp32_precision == "tf32", "what torch begins with"
    try:
        for chosen in ("tf32", "none"):
            cudnn.allow_tf32 = chosen == "tf32"
            switch.fp32_precision = cudnn.rnn.fp32_precision = chosen
            forward(model, images)
            answer(model, images)
            ask_again(model, images, interpret(model, images, 0, 3).scores)
            settings = FineTuning(epochs=1, batch_size=2)
            finetune(learner, lambda rows: images[rows], torch.tensor([0, 1]), settings, seed=0)
            with full_float32():
                forward(model, images)
                assert switch.fp32_precision == "ieee" and not cudnn.allow_tf32
            assert switch.fp32_precision == cudnn.rnn.fp32_precision == chosen
            assert cudnn.allow_tf32 == (chosen == "tf32")
    finally:
        cudnn.allow_tf32 = True
    assert set(seen) == {"ieee"} and len(seen) >= 10


def test_whoever_leaves_full_float32_first_does_not_take_it_from_the_others() -> None:
    cudnn: Any = torch.backends.cudnn
    switch = cudnn.conv
    before, first, second = switch.fp32_precision, full_float32(), full_float32()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert switch.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert switch.fp32_precision == before
