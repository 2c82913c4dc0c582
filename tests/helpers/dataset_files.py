"""Datasets made of empty files, and what a test asks of their listing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradattn_core.dataset.listing import list_dataset
from gradattn_core.errors import DatasetError
from gradattn_core.records import Listing


def touch(root: Path, *paths: str) -> Path:
    """Empty files: listing never opens an image."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def rows(listing: Listing) -> list[tuple[str, str]]:
    return [(image.path, image.label) for image in listing.images]


def reasons(listing: Listing) -> dict[str, str]:
    assert all(failure.stage == "list" for failure in listing.failures)
    return {failure.path: failure.reason for failure in listing.failures}


def refusal(source: Path | str, **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        list_dataset(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
