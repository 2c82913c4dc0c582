"""Readable names for labels that are ImageNet ids, such as n01608432.

The names are timm's own table, read as the file it is: importing timm would import torch, which takes a page seconds.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

_WNID = re.compile(r"n\d{8}")
_TABLE = Path("data", "_info", "imagenet_synset_to_lemma.txt")


def named(label: str) -> str:
    """The label with its name in front: ``tench · n01440764`` for an ImageNet id, any other label unchanged."""
    name = short(label)
    return label if name == label else f"{name} · {label}"


def short(label: str) -> str:
    """The name alone: ``tench`` for n01440764, any other label unchanged. Not unique: there are two cranes."""
    return _names().get(label, label) if _WNID.fullmatch(label) else label


def told_apart(given: str, suggested: str) -> tuple[str, str]:
    """Names for two classes of one sentence: short ones, unless they are the same."""
    if short(given) == short(suggested):
        return named(given), named(suggested)
    return short(given), short(suggested)


@functools.cache
def _names() -> dict[str, str]:
    """The first name of each ImageNet id; empty where timm keeps its table elsewhere."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return {}
    try:
        lines = Path(found.origin).parent.joinpath(_TABLE).read_text("utf-8").splitlines()
    except OSError:
        return {}
    rows = (line.split("\t", 1) for line in lines if "\t" in line)
    return {wnid: names.split(",")[0].strip() for wnid, names in rows}
