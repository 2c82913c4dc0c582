"""Datasets in memory become files without loss, under the names of classes, and stay while they are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

from gradattn_core.dataset.address import join
from gradattn_core.dataset.decoding import read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError
from gradattn_core.notebook.live import Live, with_index, written
from gradattn_core.progress import silent
from tests.helpers.tools import run_with

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 7, 3), np.uint8)


@dataclass(frozen=True)
class Pairs:
    """A map-style dataset of whatever it is given."""

    items: Sequence[object]
    classes: tuple[str, ...] = ("cat", "dog")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]


class Jittered(Pairs):
    """Its transform draws anew each time."""

    def __getitem__(self, index: int) -> object:
        return RNG.integers(0, 256, (9, 7, 3), np.uint8), index % 2


class SometimesJittered(Pairs):
    """Of picture 0 it happens to draw the same twice."""

    def __getitem__(self, index: int) -> object:
        return (RNG.integers(0, 256, (9, 7, 3), np.uint8) if index else PIXELS[0]), index % 2


def write(dataset: object, out: Path, **changes: object) -> Live:
    ids = changes.get("ids")
    return written(dataset, out, str(changes.get("name", "mine")), ids if isinstance(ids, list) else None, None, silent)


def read_back(live: Live) -> tuple[list[np.ndarray], list[str]]:
    listing = list_dataset(live.file)
    by_path = {image.path: image.label for image in listing.images}
    pictures = [np.asarray(read_image(join(listing.root, path)).image) for path in live.paths]
    return pictures, [by_path[path] for path in live.paths]


@pytest.mark.parametrize(
    "made",
    [
        lambda pixels: Image.fromarray(pixels),
        lambda pixels: pixels,
        lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
        lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1).float() / 255,
        lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1).half() / 255,
    ],
    ids=["PIL", "array", "tensor", "floats", "half"],
)
def test_no_pixel_is_lost_and_numbers_become_the_names_of_classes(
    tmp_path: Path, made: Callable[[np.ndarray], object]
) -> None:
    pairs = Pairs([(made(pixels), torch.tensor(number % 2)) for number, pixels in enumerate(PIXELS)])
    pictures, labels = read_back(write(pairs, tmp_path))
    assert labels == ["cat", "dog"] * 3
    for pixels, picture in zip(PIXELS, pictures, strict=True):
        tolerance = 1 if "half" in str(getattr(made(pixels), "dtype", "")) else 0
        assert np.abs(picture.astype(int) - pixels).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "F"])
def test_pictures_of_every_mode_are_written(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(PIXELS[0][:, :, 0])
    picture = Image.fromarray(PIXELS[0][:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    pairs = Pairs([(picture, 0), (picture, 1)])
    live = write(pairs, tmp_path)
    found, _ = read_back(live)
    assert found[0].shape == (9, 7, 3) and found[0].std() > 0


def test_the_files_of_an_image_folder_are_read_where_they_are(tmp_path: Path) -> None:
    for number, pixels in enumerate(PIXELS):
        file = tmp_path / "photos" / ("cat-2", "dog", "cat")[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    folder = ImageFolder(str(tmp_path / "photos"))
    live = write(folder, tmp_path / "out")
    assert live.paths == [path for path, _ in folder.samples]
    assert read_back(live)[1] == [folder.classes[code] for _, code in folder.samples]
    chosen = [5, 0, 3]
    some = write(Subset(Subset(folder, [5, 4, 0, 3]), [0, 2, 3]), tmp_path / "out", name="some")
    assert some.paths == [folder.samples[index][0] for index in chosen]
    assert write(DataLoader(folder).dataset, tmp_path / "out").paths == live.paths


def test_the_same_dataset_leaves_its_file_alone_and_another_state_takes_its_place(tmp_path: Path) -> None:
    pairs = [(pixels, number % 2) for number, pixels in enumerate(PIXELS)]
    first = write(Pairs(pairs), tmp_path).file
    before = first.stat().st_mtime_ns
    assert write(Pairs(pairs), tmp_path).file == first and first.stat().st_mtime_ns == before
    assert write(Pairs([*pairs[:-1], (PIXELS[5], 0)]), tmp_path).file == first
    assert first.stat().st_mtime_ns != before and [file.name for file in first.parent.iterdir()] == ["mine.parquet"]


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (Pairs([(PIXELS[0], 0.5)]), "the label of picture 0 is '0.5', a float"),
        (Pairs([(PIXELS[0], torch.ones(2))]), "of several numbers"),
        (Pairs([PIXELS[0].tobytes()]), "a pair of picture and label"),
        (Pairs([(torch.randn(3, 9, 7), 0)]), "normalised"),
        (Pairs([(torch.zeros(5, 9, 7), 0)]), "5 channels"),
        (Pairs([(np.full((9, 7), 300), 0)]), "beyond 0 to 255"),
        (Pairs([("a.png", 0)]), "picture 0 is a str"),
        (Pairs([({"x": 1}, 0)]), "picture 0 is a dict"),
        (Pairs([{"image": PIXELS[0], "boxes": []}]), "has 'image', 'boxes'"),
        (Pairs([]), "no pictures"),
        (Jittered(list(PIXELS)), "its transform is random"),
        (SometimesJittered(list(PIXELS)), "its transform is random"),
        ({"train": Pairs([])}, "such as dataset['train']"),
        (pd.DataFrame({"path": ["a.png"], "label": ["cat"]}), "write it as a CSV"),
        (iter([1]), "no length"),
        (7, "no length"),
    ],
)
def test_what_is_no_dataset_of_labelled_pictures_is_refused_in_one_sentence(
    tmp_path: Path, dataset: object, words: str
) -> None:
    with pytest.raises(DatasetError) as refused:
        write(dataset, tmp_path)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert not list((tmp_path / "live").glob("*")) if (tmp_path / "live").exists() else True


def test_the_index_is_that_of_the_dataset_that_was_audited(tmp_path: Path) -> None:
    pairs = [(pixels, number % 2) for number, pixels in enumerate(PIXELS)]
    whole = write(Pairs(pairs), tmp_path, name="whole")
    backwards = write(Pairs(pairs[::-1]), tmp_path, name="backwards", ids=list("abcdef"))
    frame = pd.DataFrame({"path": [whole.paths[3], whole.paths[1]]})
    assert with_index(frame, whole.file).to_dict("list")["index"] == [3, 1]
    found = with_index(pd.DataFrame({"path": [backwards.paths[4]]}), backwards.file)
    assert found[["index", "id"]].to_numpy().tolist() == [[4, "e"]]
    assert list(with_index(frame, tmp_path / "photos").columns) == ["path"]


def test_ids_are_one_a_picture(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="ids holds 1 names, and the dataset has 2 pictures"):
        write(Pairs([(PIXELS[0], 0), (PIXELS[1], 1)]), tmp_path, ids=["a"])


_HUGGING_FACE = """
import hashlib, sys
from pathlib import Path
import datasets
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError
from gradattn_core.notebook.live import written
out, files = Path(sys.argv[1]), sys.argv[2:]
kinds = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["cat", "dog"])})
data = datasets.Dataset.from_dict({"img": files, "fine": [0, 1]}, features=kinds).with_format("numpy")
live = written(data, out, None, None, None, lambda *told: None)
import pyarrow.parquet as pq
table = pq.read_table(live.file).to_pydict()
assert [row["bytes"] for row in table["image"]] == [Path(file).read_bytes() for file in files]
assert table["label"] == ["cat", "dog"] and list_dataset(live.file).classes == ["cat", "dog"]
for wrong in (datasets.DatasetDict({"train": data}), data.to_iterable_dataset(), data.remove_columns("img")):
    try:
        written(wrong, out, None, None, None, lambda *told: None)
    except DatasetError as error:
        print(error)
"""


def test_a_dataset_of_hugging_face_keeps_its_bytes(tmp_path: Path) -> None:
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.jpg")
        Image.fromarray(PIXELS[number]).save(files[-1], quality=70)
    said = run_with("datasets", _HUGGING_FACE, tmp_path / "out", *files, cwd=tmp_path).strip().splitlines()
    assert "dataset['train']" in said[0] and "streamed" in said[1] and "one of the type Image" in said[2]
