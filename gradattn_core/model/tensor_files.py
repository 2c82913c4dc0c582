"""A file of tensors, read as plain numbers and never as code; or one sentence on what it is instead."""

from __future__ import annotations

import argparse
import datetime
import json
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors.torch import load_file
from torch import Tensor

from gradattn_core.dataset.contents import ZIP, head_of, what_it_is
from gradattn_core.errors import ModelError

State = dict[str, Tensor]

_SHARDS = ".index.json"
# What training programs keep beside the weights and torch lets in where it is named: settings, numbers, dates, paths
# of any system (as texts), and numbers of NumPy before its second version.
_HARMLESS: list[Any] = [
    *(argparse.Namespace, SimpleNamespace, defaultdict, dict, list, set, Decimal),
    *(datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone),
    *((PurePosixPath, f"pathlib{part}.{system}Path") for part in ("", "._local") for system in ("Posix", "Windows")),
    *(np.dtype, np.ndarray, *(getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType"))),
    *((multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
_NOT_LET_IN = re.compile(r"(?:GLOBAL|Type|class) ([\w.]+)")


def read_tensors(file: Path) -> object:
    """What a file holds: of safetensors and their index the tensors by name, of torch's whatever is saved.

    Raises:
        ModelError: it is no file of plain tensors, or names files that are not there.
    """
    try:
        if file.name.lower().endswith(_SHARDS):
            return _shards(file)
        if file.suffix.lower() == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except Exception as error:
        # A pickle with code in it, a truncated file and a foreign format all raise different things.
        what, code = what_it_is(head_of(str(file))), _NOT_LET_IN.search(str(error))
        why = type(error).__name__
        if what and what != ZIP:
            why = f"it is {what}"
        elif code is not None:
            why = f"it holds an object of {code[1]}, which only its own code can read"
        raise ModelError(
            f"checkpoint {file} cannot be read as plain tensors ({why}); safetensors files and torch state "
            "dictionaries without other objects work: torch.save(model.state_dict(), file)"
        ) from error


def _shards(index: Path) -> State:
    """The tensors of all files that an index of Hugging Face's names, which lie beside it."""
    names = json.loads(index.read_text("utf-8"))["weight_map"].values()
    state: State = {}
    for name in sorted(set(map(str, names))):
        part = index.parent / name
        if Path(name).name != name or not part.is_file():
            raise ModelError(f"checkpoint {index} names {name}, which is not beside it")
        read = read_tensors(part)
        state |= read if isinstance(read, dict) else {}
    return state
