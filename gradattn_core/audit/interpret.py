"""Interprets the suspects of an audit: the detail interpretation between given label and suggested class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from gradattn_core.audit.explainer import CANNOT, Explainer, Suspect, evidence_of
from gradattn_core.audit.loading import load_batches
from gradattn_core.audit.plan import Plan, failures_table
from gradattn_core.audit.rank import count_suspects, explained_outputs
from gradattn_core.audit.stored_maps import MAPS, precision_here, take_maps, wanted_maps, with_facts
from gradattn_core.config import AuditConfig
from gradattn_core.evidence import REGIONS, interpretation_row, region_rows
from gradattn_core.files import write_parquet
from gradattn_core.model.device_memory import in_parts
from gradattn_core.outfolder import failures_beside
from gradattn_core.progress import INTERPRET, Progress, interpret_shard_size, silent
from gradattn_core.records import Evidence, Failure, ImageRecord


def interpret_shards(plan: Plan) -> int:
    """How many shards :func:`interpret_shard` has; known once the images are judged. None without a model."""
    if not plan.config.has_model:
        return 0
    return -(-count_suspects(plan) // interpret_shard_size(plan.shard_size))


def interpret_shard(plan: Plan, index: int, progress: Progress = silent) -> Path:
    """Compute map, sums and regions of one shard of suspects, and hide and ask again, unless they are there.

    The map explains the head whose logits are stored (as-is classifier, the fold's probe or the fold's model), between
    the given label (red) and the class that the ranking suggests (blue).

    Args:
        plan: the audit.
        index: of the shard, in [0, interpret_shards(plan)).
        progress: told about suspects of the whole audit.

    Returns:
        the parquet file with a row of ``stored_maps.MAPS`` for each image; regions and failures lie beside it.
    """
    target = plan.files.interpret(index)
    count, size = count_suspects(plan), interpret_shard_size(plan.shard_size)
    if not target.exists():
        suspects = pq.read_table(plan.files.suspects).slice(index * size, size).to_pandas()
        outputs = explained_outputs(plan)
        sources = () if plan.head == "finetune" else plan.sources
        precision = precision_here(plan)
        maps, regions = take_maps(sources, wanted_maps(plan, suspects), outputs, precision)
        kept = len(maps)
        new = suspects[~suspects["path"].isin(maps["path"].to_pylist())]
        results = _Results([], [], [])
        with ThreadPoolExecutor(1, thread_name_prefix="rows") as writer:
            for fold, rows in _by_model(plan, new):
                for _ in _interpret_rows(plan, fold, rows, outputs, results, writer):
                    done = len(maps) + len(results.maps) + len(results.failures)
                    progress(INTERPRET.name, index * size + done, count)
        regions = pa.concat_tables([regions, pa.Table.from_pylist(results.regions, schema=REGIONS)])
        maps = pa.concat_tables([maps, pa.Table.from_pylist(results.maps, schema=MAPS)])
        write_parquet(plan.files.regions(index), regions)
        write_parquet(failures_beside(target), failures_table(results.failures))
        write_parquet(target, with_facts(maps, outputs, kept, precision))
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


def _by_model(plan: Plan, part: pd.DataFrame) -> Iterator[tuple[int | None, pd.DataFrame]]:
    """Fine-tuned folds have a model each; otherwise all images share one."""
    if plan.head != "finetune":
        if len(part):
            yield None, part
        return
    for fold in sorted(part["fold"].unique()):
        yield int(fold), part[part["fold"] == fold]


def _interpret_rows(
    plan: Plan, fold: int | None, rows: pd.DataFrame, outputs: dict[str, int], results: _Results, writer: Executor
) -> Iterator[None]:
    """Fill ``results``, one batch at each step.

    Args:
        writer: makes rows of a batch while the next one is explained; one at a time, so that they keep their order.
    """
    try:
        explainer = Explainer.of(plan, fold, outputs)
    except CANNOT as error:
        named = zip(rows["path"], rows["label"], strict=True)
        results.failures.extend(Failure(path, INTERPRET.name, str(error), label) for path, label in named)
        yield
        return
    facts = {row["path"]: row for row in rows.to_dict("records")}
    records = [ImageRecord(row["path"], row["label"], row["size"]) for row in facts.values()]
    device = next(explainer.model.parameters()).device
    before: list[Future[_Results]] = []
    for batch in load_batches(plan.root, records, explainer.preprocessing, plan.config, device, plan.white):
        suspects, failures = [], []
        for image, pixels in zip(batch.images, batch.pixels, strict=True):
            row = facts[image.record.path]
            if image.content_hash != row["content_hash"]:
                reason = "it has changed since it was swept"
                failures.append(Failure(image.record.path, INTERPRET.name, reason, image.record.label))
                continue
            outputs_of = (row["given_output"], row["other_output"])
            head = 0 if pd.isna(row["fold"]) else int(row["fold"])
            suspects.append(Suspect(image, pixels, *outputs_of, row["other"], head, bool(row["to_measure"])))
        under_way = [writer.submit(_Results, [], [], [*failures, *batch.failed])]

        def run(part: slice, suspects: list[Suspect] = suspects, under_way: list[Future[_Results]] = under_way) -> None:
            # Memory may run out within a part, which is then run again: it is handed on once it is through.
            explained = _explained(explainer, suspects[part])
            under_way.append(writer.submit(_rows, plan.config, explained))

        in_parts(run, len(suspects), device, (INTERPRET.name, plan.sweep_key))
        if before:
            _collect(before, results)
            yield
        before = under_way
    _collect(before, results)
    yield


def _collect(finished: Iterable[Future[_Results]], results: _Results) -> None:
    for each in finished:
        results.extend(each.result())


def _explained(explainer: Explainer, suspects: list[Suspect]) -> list[tuple[Suspect, Evidence | Failure]]:
    """A batch with an image that cannot be interpreted is taken one by one."""
    try:
        return list(zip(suspects, evidence_of(explainer, suspects), strict=True))
    except CANNOT as error:
        if len(suspects) == 1:
            # A batch is nothing that a reader knows of.
            reason = str(error).replace("images: image 0 of the batch", "it")
            record = suspects[0].image.record
            return [(suspects[0], Failure(record.path, INTERPRET.name, reason, record.label))]
        return [each for suspect in suspects for each in _explained(explainer, [suspect])]


def _rows(config: AuditConfig, explained: list[tuple[Suspect, Evidence | Failure]]) -> _Results:
    results = _Results([], [], [])
    for suspect, evidence in explained:
        if isinstance(evidence, Failure):
            results.failures.append(evidence)
            continue
        path = suspect.image.record.path
        results.maps.append(
            {
                **interpretation_row(path, evidence),
                "detail": _detail(suspect.pixels, evidence.scores.shape),
                "content_hash": suspect.image.content_hash,
                "given_output": suspect.given_output,
                "other_output": suspect.other_output,
                "is_measured": config.adds_up and (suspect.to_measure or config.measured == "all"),
            }
        )
        results.regions.extend(region_rows(path, evidence))
    return results


def _detail(pixels: Tensor, grid: tuple[int, ...]) -> float:
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
