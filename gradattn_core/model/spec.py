"""Which model to build and how to train it, as records that import no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradattn_core.errors import ModelError


@dataclass(frozen=True)
class ModelSpec:
    """Which model to build.

    Attributes:
        name: a timm model name, optionally with a tag or a ``hf-hub:`` prefix.
        checkpoint: a safetensors file or a torch file of plain tensors; the published weights where ``None``.
        arguments: further keyword arguments of ``timm.create_model`` (``img_size``, ``embed_dim`` …).
        from_scratch: random weights, for ``finetune`` only.
    """

    name: str
    checkpoint: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    from_scratch: bool = False

    def digest(self) -> str:
        """A fingerprint of the checkpoint's bytes (empty without a checkpoint).

        Raises:
            ModelError: the checkpoint is no file.
        """
        if self.checkpoint is None:
            return ""
        with checkpoint_file(self.checkpoint).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How the folds are trained. ``learning_rate`` is reached after the first tenth, then falls along a cosine."""

    epochs: int = 5
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    batch_size: int = 64


def checkpoint_file(path: str) -> Path:
    """The checkpoint as a file; raises ModelError where there is none."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise ModelError(f"checkpoint {path}: no such file; give a .safetensors file or a torch state dictionary")
    return file
