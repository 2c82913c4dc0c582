"""Interprets the suspects of an audit: the detail interpretation between given label and suggested class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from gradattn_core.audit.finetune import fold_model
from gradattn_core.audit.loading import LoadedImage, audit_model, in_parts, load_batches
from gradattn_core.audit.plan import Plan
from gradattn_core.audit.rank import LinearHeads, count_suspects, explained_outputs
from gradattn_core.audit.reuse import take_maps, with_outputs
from gradattn_core.audit.sweep import failures_table
from gradattn_core.errors import InterpretError
from gradattn_core.evidence import INTERPRETATIONS, REGIONS, interpretation_row, region_rows
from gradattn_core.files import write_parquet
from gradattn_core.interpret.hiding import ask_again
from gradattn_core.interpret.maps import interpret
from gradattn_core.interpret.regions import map_statistics
from gradattn_core.model.preprocessing import Preprocessing
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import INTERPRET, Progress, interpret_shard_size, silent
from gradattn_core.records import Evidence, Failure, Hidden, ImageRecord


def interpret_shards(plan: Plan) -> int:
    """How many shards :func:`interpret_shard` has; known once the images are judged."""
    return -(-count_suspects(plan) // interpret_shard_size(plan.shard_size))


def interpret_shard(plan: Plan, index: int, progress: Progress = silent) -> Path:
    """Compute map, masses and regions of one shard of suspects, and hide and ask again, unless they are there.

    The map explains the head whose logits are stored (as-is classifier, the fold's probe or the fold's model), between
    the given label (red) and the class that the ranking suggests (blue).
    """
    target = plan.files.interpret(index)
    count, size = count_suspects(plan), interpret_shard_size(plan.shard_size)
    if not target.exists():
        suspects = pq.read_table(plan.files.suspects).slice(index * size, size).to_pandas()
        suspects = suspects.assign(objective=plan.config.objective, correction=plan.config.correction)
        outputs = explained_outputs(plan)
        found = _Found(*take_maps(plan.sources if plan.head == "as-is" else (), suspects, outputs), [])
        new = suspects[~suspects["path"].isin([row["path"] for row in found.maps])]
        for fold, rows in _by_model(plan, new):
            for _ in _interpret_rows(plan, fold, rows, outputs, found):
                progress(INTERPRET.name, index * size + len(found.maps) + len(found.failures), count)
        write_parquet(plan.files.regions(index), pa.Table.from_pylist(found.regions, schema=REGIONS))
        write_parquet(failures_beside(target), failures_table(found.failures))
        write_parquet(target, with_outputs(pa.Table.from_pylist(found.maps, schema=_MAPS), outputs))
    progress(INTERPRET.name, min((index + 1) * size, count), count)
    return target


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows of a shard's three files, filled as its images are interpreted."""

    maps: list[dict[str, object]]
    regions: list[dict[str, object]]
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class _Suspect:
    """One image to interpret: the output that speaks for its label, the one for the other class, and its fold."""

    image: LoadedImage
    pixels: Tensor
    given_output: int
    other_output: int
    other_label: str
    fold: int | None


@dataclass(frozen=True, slots=True)
class _Explained:
    """What is asked about each suspect: the model, its head, and the head's output of each class."""

    plan: Plan
    model: nn.Module
    preprocessing: Preprocessing
    heads: LinearHeads | None
    outputs: dict[str, int]

    def head(self, suspects: list[_Suspect], device: torch.device) -> _FoldHeads | None:
        """The probes of these images' folds, or None for the model's own classifier."""
        if self.heads is None:
            return None
        folds = np.array([suspect.fold for suspect in suspects], dtype=np.int64)
        weights, bias = (torch.from_numpy(values[folds]) for values in (self.heads.weights, self.heads.bias))
        return _FoldHeads(weights.to(device), bias.to(device))


@dataclass(frozen=True, slots=True)
class _FoldHeads:
    """Maps features [B, D] to logits [B, K], each image by its own fold's probe."""

    weights: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return torch.einsum("bd,bkd->bk", features.float(), self.weights) + self.bias


def _by_model(plan: Plan, part: pd.DataFrame) -> Iterator[tuple[int | None, pd.DataFrame]]:
    """Fine-tuned folds have a model each; otherwise all images share one."""
    if plan.head != "finetune":
        if len(part):
            yield None, part
        return
    for fold in sorted(part["fold"].unique()):
        yield int(fold), part[part["fold"] == fold]


def _interpret_rows(
    plan: Plan, fold: int | None, rows: pd.DataFrame, outputs: dict[str, int], found: _Found
) -> Iterator[None]:
    """Fill ``found``, one batch at each step."""
    model = audit_model(plan.config) if fold is None else fold_model(plan, fold)
    heads = LinearHeads.load(plan.files.heads) if plan.head == "probe" else None
    explained = _Explained(plan, model, Preprocessing.of(model), heads, outputs)
    facts = {row["path"]: row for row in rows.to_dict("records")}
    records = [ImageRecord(row["path"], row["label"], row["size"]) for row in facts.values()]
    device = next(model.parameters()).device
    for batch in load_batches(plan.root, records, explained.preprocessing, plan.config, device):
        suspects = []
        for image, pixels in zip(batch.images, batch.pixels, strict=True):
            row = facts[image.record.path]
            if image.content_hash != row["content_hash"]:
                found.failures.append(Failure(image.record.path, "interpret", "it has changed since it was swept"))
                continue
            number = int(row["fold"]) if heads is not None else None
            suspects.append(_Suspect(image, pixels, row["given_output"], row["other_output"], row["other"], number))
        found.failures.extend(batch.failed)

        def run(part: slice, suspects: list[_Suspect] = suspects) -> None:
            # Memory may run out within a part, which is then run again: what it found counts once it is through.
            of_part = _Found([], [], [])
            _interpret_batch(explained, suspects[part], of_part)
            found.maps.extend(of_part.maps)
            found.regions.extend(of_part.regions)
            found.failures.extend(of_part.failures)

        in_parts(run, len(suspects), device)
        yield


def _interpret_batch(explained: _Explained, suspects: list[_Suspect], found: _Found) -> None:
    """Two forward passes, one backward; a batch with an image that cannot be interpreted is taken one by one."""
    device = next(explained.model.parameters()).device
    images = explained.preprocessing.normalised(torch.stack([suspect.pixels for suspect in suspects]).to(device))
    head = explained.head(suspects, device)
    try:
        result = interpret(
            explained.model,
            images,
            torch.tensor([suspect.given_output for suspect in suspects], device=device),
            torch.tensor([suspect.other_output for suspect in suspects], device=device),
            objective=explained.plan.config.objective,
            correction=explained.plan.config.correction,
            head=head,
        )
    except InterpretError as error:
        if len(suspects) == 1:
            found.failures.append(Failure(suspects[0].image.record.path, "interpret", str(error)))
            return
        for suspect in suspects:
            _interpret_batch(explained, [suspect], found)
        return
    again = ask_again(explained.model, images, result.scores, head).cpu()
    scores, logits = result.scores.cpu(), result.logits.cpu()
    for row, suspect in enumerate(suspects):
        _add_rows(explained, suspect, scores[row], logits[row], again[row], found)


def _add_rows(
    explained: _Explained, suspect: _Suspect, scores: Tensor, logits: Tensor, again: Tensor, found: _Found
) -> None:
    config, image = explained.plan.config, suspect.image
    crop = explained.preprocessing.crop(image.width, image.height)
    evidence = Evidence(
        for_label=image.record.label,
        against_label=suspect.other_label,
        for_logit=float(logits[suspect.given_output]),
        against_logit=float(logits[suspect.other_output]),
        scores=scores.numpy(),
        crop=crop,
        objective=config.objective,
        correction=config.correction,
        statistics=map_statistics(scores.numpy(), crop, image.width, image.height),
        hidden=_hidden(explained.outputs, suspect, again),
    )
    found.maps.append(
        {
            **interpretation_row(image.record.path, evidence),
            "detail": _detail(suspect.pixels, scores.shape),
            "content_hash": image.content_hash,
            "given_output": suspect.given_output,
            "other_output": suspect.other_output,
        }
    )
    found.regions.extend(region_rows(image.record.path, evidence))


def _hidden(outputs: dict[str, int], suspect: _Suspect, logits: Tensor) -> Hidden | None:
    """What the head says with the evidence for the other class hidden, among the classes of the dataset."""
    if not bool(torch.isfinite(logits).all()):
        return None
    names = list(outputs)
    probabilities = logits[list(outputs.values())].double().softmax(dim=0)
    best = int(probabilities.argmax())
    given, other = float(logits[suspect.given_output]), float(logits[suspect.other_output])
    return Hidden(given, other, names[best], float(probabilities[best]))


def _detail(pixels: Tensor, grid: torch.Size) -> float:
    """How much there is to see: standard deviation of the pixels within a patch, of black to white, in [0, 0.5].

    It is that of the busiest twentieth of the patches (their 95 % quantile), so that strokes on paper count as seen.

    Args:
        pixels: [C, H, W] uint8.
        grid: rows and columns of patches.
    """
    rows, columns = grid
    down, across = pixels.shape[1] // rows, pixels.shape[2] // columns
    seen = pixels[:, : rows * down, : columns * across].float() / 255
    patches = seen.reshape(-1, rows, down, columns, across)
    # Summed one axis after the other: over two apart from one another torch takes four times as long.
    mean = patches.sum(dim=4, keepdim=True).sum(dim=2, keepdim=True) / (down * across)
    variance = (patches - mean).square().sum(dim=4).sum(dim=2) / (down * across)
    spread = variance.sqrt().mean(dim=0).flatten()
    return float(spread.double().quantile(0.95))


# Of these the store keeps none: the kind of doubt is told from the first, and a later audit knows the map again by the
# others.
_MAPS = pa.schema(
    [
        *INTERPRETATIONS,
        pa.field("detail", pa.float64()),
        pa.field("content_hash", pa.string()),
        pa.field("given_output", pa.int32()),
        pa.field("other_output", pa.int32()),
    ]
)
