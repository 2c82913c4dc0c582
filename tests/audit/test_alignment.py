"""Outputs that no name tells apart are told by the labels: 2 before 10, or 10 before 2, or the number itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from gradattn_core.audit.alignment import agreements
from gradattn_core.audit.plan import choose_head, survey_dataset
from gradattn_core.config import AuditConfig
from gradattn_core.errors import ClassAlignmentError
from gradattn_core.model.backbone import load_model
from gradattn_core.model.classes import Alignment, ClassNames, align_classes, find_class, possible_orders

MODEL: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 1}
MODEL["pretrained_cfg_overlay"] = {"input_size": (3, 16, 16), "crop_pct": 1.0}
CLASSES = 12


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve classes of a grey each, called 1 to 12, and a checkpoint that knows grey k as its output k - 1."""
    folder = tmp_path_factory.mktemp("greys")
    for number in range(1, CLASSES + 1):
        (folder / "data" / str(number)).mkdir(parents=True)
        for each in range(4):
            grey = np.full((16, 16, 3), 20 * number, np.uint8)
            grey[each, each] += 1
            Image.fromarray(grey).save(folder / "data" / str(number) / f"{each}.png")
    save_model(folder / "model.safetensors", list(range(CLASSES)), CLASSES)
    return folder


def save_model(file: Path, known: list[int], outputs: int) -> None:
    """A checkpoint that knows grey k as output ``known[k - 1]``."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=outputs, **MODEL).eval()
    levels = torch.arange(1, len(known) + 1) * 20 / 255
    images = ((levels - 0.5) / 0.5).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        unit = features - features.mean(0)
        # Nearest features: |x - f_k|² is linear in x but for what all classes share.
        model.head.weight.zero_()
        model.head.bias.copy_(torch.arange(outputs) - 1e6)
        model.head.weight[known] = 1000 * unit
        model.head.bias[known] = -500 * (unit * (features + features.mean(0))).sum(1)
        assert model(images).argmax(1).tolist() == known
    save_file(model.state_dict(), str(file))


def named(greys: Path, folder: Path, names: list[str]) -> Path:
    """The first greys as class folders of these names."""
    for number, name in enumerate(names, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(greys / "data" / str(number))
    return folder


def test_a_name_of_another_meaning_is_told_of_by_what_the_model_sees(greys: Path, tmp_path: Path) -> None:
    # hen, cricket, and a mouse that is an animal: to the model a hamster, as its mouse is that of a computer
    save_model(tmp_path / "imagenet.safetensors", [8, 312, 333], 1000)
    data = named(greys, tmp_path / "set", ["hen", "cricket", "mouse"])
    chosen = replace(
        config(greys, tmp_path / "out"), dataset=str(data), checkpoint=str(tmp_path / "imagenet.safetensors")
    )
    head, alignment, notes = choose_head(chosen, survey_dataset(chosen).listing)
    assert head == "as-is" and alignment is not None and set(alignment.indices) == {8, 312, 673}
    [note] = [note for note in notes if "By their names" in note]
    assert "sampled pictures: 'mouse' for 'mouse, computer mouse' (rather 'hamster')." in note
    assert "hen" not in note and "--class-map" in note
    save_model(tmp_path / "mouse.safetensors", [8, 312, 673], 1000)
    right = replace(chosen, checkpoint=str(tmp_path / "mouse.safetensors"))
    assert not any("By their names" in note for note in choose_head(right, survey_dataset(right).listing)[2])


def test_one_name_of_two_outputs_is_said_where_the_probe_judges_for_it(greys: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "imagenet.safetensors", [8, 312, 134], 1000)
    data = named(greys, tmp_path / "set", ["hen", "cricket", "crane"])
    chosen = replace(
        config(greys, tmp_path / "out", head="auto"),
        dataset=str(data),
        checkpoint=str(tmp_path / "imagenet.safetensors"),
    )
    head, _, notes = choose_head(chosen, survey_dataset(chosen).listing)
    assert head == "probe"
    assert any("'crane' (ambiguous: outputs 134, 517); give --class-map FILE" in note for note in notes)


def config(greys: Path, out: Path, **changes: Any) -> AuditConfig:
    return AuditConfig(
        str(greys / "data"),
        str(out),
        checkpoint=str(greys / "model.safetensors"),
        model_arguments=MODEL,
        device="cpu",
        precision="float32",
        **{"head": "as-is", **changes},
    )


def test_the_order_that_the_labels_confirm_is_taken_and_said(greys: Path, tmp_path: Path) -> None:
    chosen = config(greys, tmp_path)
    listing = survey_dataset(chosen).listing
    head, alignment, notes = choose_head(chosen, listing)
    assert head == "as-is" and alignment is not None and alignment.method == "natural order"
    assert [int(name) - 1 for name in listing.classes] == list(alignment.indices)
    assert any("natural order, in which it agrees with 100% instead of" in note for note in notes)


def test_the_share_of_labels_is_counted(greys: Path, tmp_path: Path) -> None:
    chosen = config(greys, tmp_path)
    listing = survey_dataset(chosen).listing
    model = load_model(chosen.spec)
    text = Alignment(tuple(range(CLASSES)), "index order")
    right = [name for place, name in enumerate(listing.classes) if int(name) - 1 == place]
    assert agreements(chosen, listing, model, [text]) == pytest.approx([len(right) / CLASSES])


def test_a_map_that_the_labels_contradict_is_doubted_and_stays(greys: Path, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("label,output\n" + "".join(f"{n},{n % CLASSES}\n" for n in range(1, CLASSES + 1)))
    chosen = config(greys, tmp_path, class_map=str(tmp_path / "map.csv"))
    _, alignment, notes = choose_head(chosen, survey_dataset(chosen).listing)
    assert alignment is not None and alignment.method == "class map"
    assert any("aligned by class map, but in natural order it agrees with 100% instead of 0%" in note for note in notes)


def test_a_head_of_as_many_outputs_is_not_passed_over_without_a_word(greys: Path, tmp_path: Path) -> None:
    chosen = config(greys, tmp_path, head="auto")
    head, _, notes = choose_head(chosen, survey_dataset(chosen).listing)
    assert head == "probe" and any(
        "12 outputs for as many classes" in note and "--head as-is" in note for note in notes
    )


def test_the_orders_that_are_possible() -> None:
    def methods(classes: list[str], outputs: int) -> dict[str, tuple[int, ...]]:
        return {order.method: order.indices for order in possible_orders(classes, outputs)}

    assert methods(["1", "10", "2"], 3) == {"natural order": (0, 2, 1), "index order": (0, 1, 2)}
    assert methods(["0", "1", "10", "2"], 11) == {"number": (0, 1, 10, 2)}
    assert methods(["a", "b"], 2) == {"index order": (0, 1)}
    assert methods(["a", "b"], 3) == {}
    assert methods(["img10", "img2", "img1"], 3)["natural order"] == (2, 1, 0)


@pytest.mark.parametrize("text", ["9" * 5000, "1" * 12, "-1", "²"])
def test_an_absurd_output_is_refused_in_a_short_sentence(text: str) -> None:
    with pytest.raises(ClassAlignmentError) as refused:
        find_class(text, 1000, ClassNames())
    assert len(str(refused.value)) < 200


def test_the_nearest_class_is_that_with_the_word_in_it() -> None:
    names = ClassNames(synonyms=(("crate",), ("tabby", "tabby cat"), ("Persian cat",), ("coast",), ("catamaran",)))
    with pytest.raises(ClassAlignmentError, match="nearest: tabby cat, persian cat"):
        find_class("cat", 5, names)


@pytest.mark.parametrize(
    "text",
    ['{"0": "red", "1": "blue"}', '{"red": 0, "blue": 1}', '{"red": "0", "blue": "1"}'],
    ids=["id2label", "int", "text"],
)
def test_a_class_map_is_read_either_way_round(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.json").write_text(text)
    alignment = align_classes(["blue", "red"], 2, ClassNames(), tmp_path / "map.json")
    assert alignment == Alignment((1, 0), "class map")


def test_a_class_map_of_nothing_but_brackets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text("[" * 100_000)
    with pytest.raises(ClassAlignmentError, match="expected JSON"):
        align_classes(["blue", "red"], 2, ClassNames(), tmp_path / "map.json")
