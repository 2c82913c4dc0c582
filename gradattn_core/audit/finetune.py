"""Cross-validation folds that follow from an image's content, and the fine-tuned model of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gradattn_core.audit.loading import load_batches
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.sweep import swept_table
from gradattn_core.config import AuditConfig
from gradattn_core.errors import DatasetError
from gradattn_core.files import write_bytes, write_parquet
from gradattn_core.model.backbone import load_model
from gradattn_core.model.device import pick_device
from gradattn_core.model.device_memory import in_parts
from gradattn_core.model.forward import answer
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.model.training import finetune
from gradattn_core.progress import FINETUNE, Progress, silent
from gradattn_core.records import FloatArray, ImageRecord, IntArray

# A training step asks for few pictures at a time, which threads decode side by side.
_THREADS = torch.device("cpu")
_LOGITS = pa.list_(pa.float32())


def content_folds(hashes: Sequence[str], folds: int) -> IntArray:
    """[N] fold of each image, in [0, folds).

    It depends on the content alone: a copy of a picture under another label is never in the training part of its
    twin's fold, and images added later move nobody.
    """
    return np.array([int(value[:12], 16) % folds for value in hashes], dtype=np.int64)


def fold_model(plan: Plan, fold: int) -> nn.Module:
    """The fine-tuned model that has not seen the images of ``fold``."""
    model = _new_model(plan)
    model.load_state_dict(load_file(plan.files.fold_weights(fold)))
    return model.eval().requires_grad_(False)


def finetune_fold(plan: Plan, fold: int, progress: Progress = silent) -> Path:
    """Fine-tune on the other folds, judge the images of this one, unless the result is there."""
    target = plan.files.finetune(fold)
    if target.exists():
        return target
    stage = f"{FINETUNE.name} fold {fold + 1}/{plan.config.folds}"
    table = swept_table(plan, ["path", "content_hash", "given_label"]).to_pandas()
    records = [ImageRecord(path, label, 0) for path, label in zip(table["path"], table["given_label"], strict=True)]
    code = {name: position for position, name in enumerate(plan.classes)}
    codes = torch.tensor([code[record.label] for record in records])
    held_out = content_folds(table["content_hash"], plan.config.folds) == fold
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train):
        raise DatasetError("every image fell into one fold; finetune needs more images, or use --head probe")
    model = _new_model(plan)
    preprocessing = Preprocessing.of(model)

    def load(rows: Sequence[int]) -> Tensor:
        chosen = [records[train[row]] for row in rows]
        return torch.cat(list(_batches(plan, chosen, preprocessing)))

    finetune(
        model,
        load,
        codes[torch.from_numpy(train)],
        plan.config.finetuning,
        seed=plan.config.seed * 1000 + fold,
        work=(FINETUNE.name, plan.sweep_key),
        progress=lambda done, total: progress(stage, done, total),
    )
    logits = _predict(plan, model, [records[row] for row in test], preprocessing)
    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    write_bytes(plan.files.fold_weights(fold), save(state))
    columns = {"path": [records[row].path for row in test], "logits": list(logits)}
    write_parquet(target, pa.table(columns, schema=pa.schema([("path", pa.string()), ("logits", _LOGITS)])))
    return target


def _new_model(plan: Plan) -> nn.Module:
    """A model of its own to train, with a fresh classifier for the dataset's classes."""
    config: AuditConfig = plan.config
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    if config.from_scratch:
        return load_model(config.spec, num_classes=len(plan.classes), device=device, needs_maps=False)
    model = load_model(config.spec, device=device, needs_maps=False)
    model.reset_classifier(len(plan.classes))  # type: ignore[operator]
    return model.to(device)


def _batches(plan: Plan, records: list[ImageRecord], preprocessing: Preprocessing) -> Iterator[Tensor]:
    """The pictures of ``records`` in order, a batch at a time; one that can no longer be read ends the training."""
    for batch in load_batches(plan.root, records, preprocessing, plan.config, _THREADS, plan.white):
        if batch.failed:
            raise DatasetError(
                f"{batch.failed[0].path} could be read at first and no longer ({batch.failed[0].reason}); "
                "restore it, or begin anew with --restart"
            )
        yield preprocessing.normalised(batch.pixels)


def _predict(plan: Plan, model: nn.Module, records: list[ImageRecord], preprocessing: Preprocessing) -> FloatArray:
    device = next(model.parameters()).device
    parts = [np.zeros((0, len(plan.classes)), np.float32)]
    for pixels in _batches(plan, records, preprocessing):

        def run(part: slice, pixels: Tensor = pixels) -> None:
            parts.append(answer(model, pixels[part].to(device)).cpu().numpy())

        in_parts(run, len(pixels), device, (FINETUNE.name, "judging", plan.sweep_key))
    return np.concatenate(parts)
