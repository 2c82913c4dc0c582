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
from gradattn_core.audit.reuse import MAPS, take_maps, with_outputs
from gradattn_core.audit.sweep import failures_table
from gradattn_core.errors import InterpretError
from gradattn_core.evidence import REGIONS, interpretation_row, region_rows
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

    Args:
        plan: the audit.
        index: of the shard, in [0, interpret_shards(plan)).
        progress: told about suspects of the whole audit.

    Returns:
        the parquet file with a row of ``reuse.MAPS`` for each image; regions and failures lie beside it.
    """
    target = plan.files.interpret(index)
    count, size = count_suspects(plan), interpret_shard_size(plan.shard_size)
    if not target.exists():
        suspects = pq.read_table(plan.files.suspects).slice(index * size, size).to_pandas()
        suspects = suspects.assign(objective=plan.config.objective, correction=plan.config.correction)
        outputs = explained_outputs(plan)
        maps, regions = take_maps(plan.sources if plan.head == "as-is" else (), suspects, outputs)
        new = suspects[~suspects["path"].isin(maps["path"].to_pylist())]
        results = _Results([], [], [])
        for fold, rows in _by_model(plan, new):
            for _ in _interpret_rows(plan, fold, rows, outputs, results):
                done = len(maps) + len(results.maps) + len(results.failures)
                progress(INTERPRET.name, index * size + done, count)
        regions = pa.concat_tables([regions, pa.Table.from_pylist(results.regions, schema=REGIONS)])
        maps = pa.concat_tables([maps, pa.Table.from_pylist(results.maps, schema=MAPS)])
        write_parquet(plan.files.regions(index), regions)
        write_parquet(failures_beside(target), failures_table(results.failures))
        write_parquet(target, with_outputs(maps, outputs))
    progress(INTERPRET.name, min((index + 1) * size, count), count)
    return target


@dataclass(frozen=True, slots=True)
class _Results:
    """The rows of a shard's three files, filled as its images are interpreted."""

    maps: list[dict[str, object]]
    regions: list[dict[str, object]]
    failures: list[Failure]

    def extend(self, others: _Results) -> None:
        self.maps.extend(others.maps)
        self.regions.extend(others.regions)
        self.failures.extend(others.failures)


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
class _Explainer:
    """What explains the suspects: the model, the probe of each fold if there is one, and the output of each class."""

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
    plan: Plan, fold: int | None, rows: pd.DataFrame, outputs: dict[str, int], results: _Results
) -> Iterator[None]:
    """Fill ``results``, one batch at each step."""
    model = audit_model(plan.config) if fold is None else fold_model(plan, fold)
    heads = LinearHeads.load(plan.files.heads) if plan.head == "probe" else None
    explainer = _Explainer(plan, model, Preprocessing.of(model), heads, outputs)
    facts = {row["path"]: row for row in rows.to_dict("records")}
    records = [ImageRecord(row["path"], row["label"], row["size"]) for row in facts.values()]
    device = next(model.parameters()).device
    for batch in load_batches(plan.root, records, explainer.preprocessing, plan.config, device):
        suspects = []
        for image, pixels in zip(batch.images, batch.pixels, strict=True):
            row = facts[image.record.path]
            if image.content_hash != row["content_hash"]:
                results.failures.append(Failure(image.record.path, "interpret", "it has changed since it was swept"))
                continue
            number = int(row["fold"]) if heads is not None else None
            suspects.append(_Suspect(image, pixels, row["given_output"], row["other_output"], row["other"], number))
        results.failures.extend(batch.failed)

        def run(part: slice, suspects: list[_Suspect] = suspects) -> None:
            # Memory may run out within a part, which is then run again: its results count once it is through.
            of_part = _Results([], [], [])
            _interpret_batch(explainer, suspects[part], of_part)
            results.extend(of_part)

        in_parts(run, len(suspects), device)
        yield


def _interpret_batch(explainer: _Explainer, suspects: list[_Suspect], results: _Results) -> None:
    """Two forward passes, one backward; a batch with an image that cannot be interpreted is taken one by one."""
    device = next(explainer.model.parameters()).device
    images = explainer.preprocessing.normalised(torch.stack([suspect.pixels for suspect in suspects]).to(device))
    head = explainer.head(suspects, device)
    try:
        result = interpret(
            explainer.model,
            images,
            torch.tensor([suspect.given_output for suspect in suspects], device=device),
            torch.tensor([suspect.other_output for suspect in suspects], device=device),
            objective=explainer.plan.config.objective,
            correction=explainer.plan.config.correction,
            head=head,
        )
    except InterpretError as error:
        if len(suspects) == 1:
            results.failures.append(Failure(suspects[0].image.record.path, "interpret", str(error)))
            return
        for suspect in suspects:
            _interpret_batch(explainer, [suspect], results)
        return
    again = ask_again(explainer.model, images, result.scores, head).cpu()
    scores, logits = result.scores.cpu(), result.logits.cpu()
    for row, suspect in enumerate(suspects):
        _add_rows(explainer, suspect, scores[row], logits[row], again[row], results)


def _add_rows(
    explainer: _Explainer, suspect: _Suspect, scores: Tensor, logits: Tensor, again: Tensor, results: _Results
) -> None:
    config, image = explainer.plan.config, suspect.image
    crop = explainer.preprocessing.crop(image.width, image.height)
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
        hidden=_hidden(explainer.outputs, suspect, again),
    )
    results.maps.append(
        {
            **interpretation_row(image.record.path, evidence),
            "detail": _detail(suspect.pixels, scores.shape),
            "content_hash": image.content_hash,
            "given_output": suspect.given_output,
            "other_output": suspect.other_output,
        }
    )
    results.regions.extend(region_rows(image.record.path, evidence))


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
