"""A class folder that is no folder of this machine: the names in a zip, in a tar, or below a URL."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from gradattn_core.dataset.address import leads_out
from gradattn_core.dataset.remote import State
from gradattn_core.dataset.wording import as_text, is_text
from gradattn_core.records import Failure, ImageRecord, Listing

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_PACKER_FOLDERS = ("__MACOSX",)


@dataclass(frozen=True)
class Tree:
    """Files by their path below a root's address, and why some cannot be read."""

    root: str
    files: Mapping[str, State]
    problems: Mapping[str, str]

    def below(self, folder: str, root: str) -> Tree:
        """The part in a folder, which has an address of its own."""
        start = f"{folder}/"

        def part(names: Mapping[str, object]) -> list[str]:
            return [name for name in names if name.startswith(start)]

        return Tree(
            root,
            {name.removeprefix(start): self.files[name] for name in part(self.files)},
            {name.removeprefix(start): self.problems[name] for name in part(self.problems)},
        )

    @property
    def folders(self) -> set[str]:
        """The names of the visible folders directly below the root."""
        return {name.split("/")[0] for name in self.files if "/" in name and not is_hidden(name)}

    def wrapper(self) -> str | None:
        """The one folder that everything was packed in, if the classes are folders within it."""
        images = [name for name in self.files if is_image(name) and not is_hidden(name)]
        if len(self.folders) == 1 and any(name.count("/") > 1 for name in images):
            return next(iter(self.folders))
        return None

    def listing(self) -> Listing:
        """As ``label/**/image``, by the rules for a folder: see ``list_dataset``."""
        images: list[ImageRecord] = []
        failures = [
            Failure(as_text(name), "list", why)
            for name, why in self.problems.items()
            if is_image(name) or leads_out(name)
        ]
        skipped = len(self.problems) - len(failures)
        for name, state in self.files.items():
            if leads_out(name):
                failures.append(Failure(as_text(name), "list", "the name leads out of the dataset; it is not opened"))
            elif is_hidden(name) or not is_image(name) or "/" not in name:
                skipped += 1
            elif not is_text(name):
                failures.append(Failure(as_text(name), "list", "the name is not valid UTF-8: rename it"))
            else:
                images.append(ImageRecord(name, name.split("/")[0], *state))
        images.sort(key=lambda image: image.path)
        failures.sort(key=lambda failure: failure.path)
        return Listing(self.root, tuple(images), tuple(failures), skipped)


def is_image(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a part of the path begins with a dot, or a packer put it there for itself."""
    return any(part.startswith(".") for part in name.split("/")) or name.split("/")[0] in _PACKER_FOLDERS
