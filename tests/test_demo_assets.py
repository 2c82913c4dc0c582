"""The demo's digits and the model that comes with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from gradattn_core.demo.digits import plant_errors, write_digits
from gradattn_core.demo.model import GLYPH_VIT, GLYPH_VIT_WEIGHTS, create_glyph_vit
from gradattn_core.errors import DatasetError

TRAINING_SCRIPT = Path(__file__).parents[1] / "scripts" / "train_glyph_vit.py"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("demo") / "digits"
    return folder, write_digits(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def test_exactly_the_asked_share_of_labels_is_wrong(written: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    _, table = written
    assert len(table) == 1797
    assert (table["given_label"] != table["true_label"]).sum() == round(0.05 * 1797)
    clean = write_digits(tmp_path / "clean", noise=0.0)
    assert (clean["given_label"] == clean["true_label"]).all()


def test_the_folder_files_every_image_under_its_given_label(written: tuple[Path, pd.DataFrame]) -> None:
    folder, table = written
    assert sorted(_contents(folder)) == table["path"].tolist()
    assert (table["path"].str.split("/").str[0] == table["given_label"]).all()


def test_the_truth_beside_the_folder_says_what_the_images_show(written: tuple[Path, pd.DataFrame]) -> None:
    folder, table = written
    truth = pd.read_csv(folder.with_name("digits.truth.csv"), dtype=str)
    pd.testing.assert_frame_equal(truth, table)
    digits = load_digits()
    for path, true_label in table[["path", "true_label"]].iloc[::97].itertuples(index=False):
        number = int(Path(path).stem) - 1
        with Image.open(folder / path) as image:
            assert image.size == (64, 64)
            shown = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float) / 255 * 16
        assert str(digits.target[number]) == true_label
        assert np.abs(shown - digits.images[number]).mean() < 1


def test_a_wrong_label_is_that_of_the_most_similar_image_of_another_class() -> None:
    pixels = np.array([[0.0], [1.0], [3.0], [10.0], [11.0]])
    labels = np.array([0, 0, 1, 2, 2])
    assert plant_errors(pixels, labels, 5, seed=0).tolist() == [1, 1, 0, 1, 1]


def test_writing_again_gives_the_same_bytes(written: tuple[Path, pd.DataFrame]) -> None:
    folder, table = written
    before = _contents(folder)
    pd.testing.assert_frame_equal(write_digits(folder), table)
    assert _contents(folder) == before


def test_another_seed_moves_other_images_and_leaves_no_stale_ones(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    first, second = write_digits(folder), write_digits(folder, seed=1)
    assert set(first["path"]) != set(second["path"])
    assert sorted(_contents(folder)) == second["path"].tolist()


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "3").mkdir(parents=True)
    (folder / "3" / "00001.png").write_bytes(b"precious")
    with pytest.raises(DatasetError, match="mine"):
        write_digits(folder)
    assert _contents(folder) == {"3/00001.png": b"precious"}


def test_a_truth_file_cannot_make_it_delete_outside_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "00001.png"
    outside.write_bytes(b"precious")
    (tmp_path / "digits.truth.csv").write_text("path,given_label,true_label\n../00001.png,1,1\n", encoding="utf-8")
    write_digits(tmp_path / "digits")
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
def test_a_noise_that_is_no_share_is_refused(noise: float, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="noise"):
        write_digits(tmp_path / "digits", noise=noise)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_a_dataset_error(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("a file", encoding="utf-8")
    with pytest.raises(DatasetError, match="digits"):
        write_digits(tmp_path / "digits")


def test_the_weights_are_small_half_precision_and_exactly_the_models() -> None:
    assert GLYPH_VIT_WEIGHTS.stat().st_size <= 3_000_000
    weights = load_file(GLYPH_VIT_WEIGHTS)
    state = create_glyph_vit().state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {k: v.shape for k, v in state.items()}
    for name, tensor in weights.items():
        assert tensor.dtype == torch.float16
        assert torch.equal(state[name], tensor.float())


def test_the_model_sees_eight_by_eight_patches_and_a_class_token_through_several_blocks() -> None:
    model: Any = create_glyph_vit()
    assert not model.training
    depths = model.forward_intermediates(torch.zeros(2, 3, 32, 32), return_prefix_tokens=True, intermediates_only=True)
    assert len(depths) >= 4
    for patches, prefix in depths:
        assert patches.shape == (2, GLYPH_VIT["embed_dim"], 8, 8)
        assert prefix.shape[1] == 1


def test_its_own_preprocessing_is_what_timm_resolves() -> None:
    config = timm.data.resolve_model_data_config(create_glyph_vit())
    assert config["input_size"] == (3, 32, 32)
    assert config["crop_pct"] == 1.0
    assert config["interpolation"] == "bilinear"
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)


def test_it_reads_real_digits_although_it_only_saw_generated_ones(written: tuple[Path, pd.DataFrame]) -> None:
    folder, table = written
    model = create_glyph_vit()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    some = table.iloc[::6]
    images = torch.stack([transform(Image.open(folder / path).convert("RGB")) for path in some["path"]])
    with torch.inference_mode():
        predicted = model(images).argmax(dim=1).numpy()
    assert (predicted == some["true_label"].astype(int).to_numpy()).mean() > 0.85


def test_training_writes_a_file_that_loads_and_the_same_one_again(tmp_path: Path) -> None:
    files = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for file in files:
        few = ["--epochs", "1", "--steps", "2", "--held-out", "32", "--seed", "3"]
        done = subprocess.run(
            [sys.executable, str(TRAINING_SCRIPT), "--out", str(file), *few],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert "held-out generated glyphs" in done.stdout
    assert files[0].read_bytes() == files[1].read_bytes()
    trained = timm.create_model(**GLYPH_VIT, checkpoint_path=str(files[0]))
    assert trained(torch.zeros(1, 3, 32, 32)).isfinite().all()
