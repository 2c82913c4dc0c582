"""What a dataset's pictures have in common is found before the sweep, said once, and the same for whoever reads one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradattn_core.audit.appearance import LOOKED_AT, appearance_of
from gradattn_core.audit.plan import make_plan, survey_dataset
from gradattn_core.audit.run import audit_images
from gradattn_core.audit.sweep import sweep_shard, swept_table
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.pixels import FULL_WHITE
from gradattn_core.store.store import Store
from tests.helpers.deep_pictures import deep_png, rgba
from tests.helpers.tiny import Tiny


def write(folder: Path, *, deep: bool = False, alpha: int | None = None, count: int = 8) -> Path:
    """Pictures of two colours; of 12 bits in 16, or with a transparency, on demand."""
    rng = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 200)), ("red", (200, 50, 40))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.clip(np.array(colour) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            file = folder / name / f"{number}.png"
            if deep:
                file.write_bytes(deep_png(np.rint(pixels * (4095 / 255)).astype(np.uint16)))
            elif alpha is not None:
                file.write_bytes(rgba(pixels, alpha))
            else:
                Image.fromarray(pixels).save(file)
    return folder


def features(tiny: Tiny, out: Path, dataset: Path) -> np.ndarray:
    config = tiny.config(out, dataset=str(dataset), folds=2)
    plan = make_plan(config, survey_dataset(config))
    for index in range(plan.shards):
        sweep_shard(plan, index)
    return np.stack(swept_table(plan, ["readout"])["readout"].to_pylist())


def test_pictures_of_twelve_bits_or_with_an_empty_alpha_give_the_numbers_of_plain_ones(
    tiny: Tiny, tmp_path: Path
) -> None:
    plain = features(tiny, tmp_path / "0", write(tmp_path / "plain"))
    assert np.abs(features(tiny, tmp_path / "1", write(tmp_path / "deep", deep=True)) - plain).max() < 1e-5
    assert np.abs(features(tiny, tmp_path / "2", write(tmp_path / "empty", alpha=0)) - plain).max() < 1e-5


def test_it_is_said_once_and_every_reader_sees_the_same(tiny: Tiny, tmp_path: Path) -> None:
    dataset = write(tmp_path / "deep", deep=True)
    summary = audit_images(tiny.config(tmp_path / "out", dataset=str(dataset), folds=2))
    [said] = [warning for warning in summary.warnings if "white" in warning]
    assert said.startswith("The pictures have 16 bits and use fewer: of 16 that were looked at none passes 4,095")
    store = Store(tmp_path / "out")
    [place] = store.images.places(summary.audit_id, ["red/3.png"])
    assert place.white == 4095


def test_a_few_transparent_pictures_are_said_too(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set")
    write(tmp_path / "set", alpha=0, count=3)
    looks = appearance_of(list_dataset(dataset))
    assert looks.white == FULL_WHITE and looks.facts
    assert looks.notes == (
        "Some pictures are transparent everywhere, 6 of 16 pictures that were looked at: their colours are shown as if "
        "they were not.",
    )


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_ordinary_pictures_are_as_their_files_say_and_few_are_looked_at(tmp_path: Path, ending: str) -> None:
    for number in range(4 * LOOKED_AT):
        file = tmp_path / "set" / ("ab"[number % 2]) / f"{number}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no picture")
    looks = appearance_of(list_dataset(tmp_path / "set"))
    assert looks.facts == () and looks.notes == () and looks.white == FULL_WHITE
