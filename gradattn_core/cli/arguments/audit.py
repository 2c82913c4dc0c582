"""``gradattn audit`` and ``gradattn demo``."""

from __future__ import annotations

import argparse
from typing import Any

from gradattn_core.cli.arguments.shared import (
    SIGNED,
    TWO_CLASSES,
    command,
    interpretation,
    model,
    out_folder,
    output_style,
)


def audit(commands: Any) -> None:
    parser = command(
        commands,
        "audit",
        "Sweep a dataset, rank its labels by suspicion, and interpret the suspects.",
        "  gradattn audit photos/\n"
        "  gradattn audit labels.csv --path-column file --label-column class --split train\n"
        "  gradattn audit photos/ --model vit_tiny_patch16_224 --checkpoint weights.safetensors --head as-is",
    )
    audit_options(parser).add_argument(
        "--flow", action="store_true", help="run as a Prefect flow: retries, artifacts, Prefect's page"
    )
    output_style(parser)


def audit_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Everything that says what to audit and how, of which ``cli.audit.audit_config`` makes an ``AuditConfig``.

    Returns:
        the group of options on running it.
    """
    parser.add_argument(
        "dataset", metavar="DATASET", help="folder root/<label>/**/image, or a CSV/Parquet/JSONL manifest"
    )
    out_folder(parser)
    model(parser)
    parser.add_argument(
        "--head",
        default="auto",
        choices=("auto", "as-is", "probe", "finetune"),
        help="who judges: the "
        "model's classifier, a K-fold linear probe, K-fold fine-tuning (default: as-is where the class "
        "names match, else probe)",
    )
    parser.add_argument(
        "--class-map", metavar="FILE", help="JSON or CSV (label, output): the model's output of each class"
    )
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="folds of the cross-validation (default 5)")
    parser.add_argument("--interpret", default="suspects", choices=("suspects", "all"), help="which images get a map")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.25,
        metavar="P",
        help="suspicion from which an image is a suspect although the model agrees with its label (default 0.25)",
    )
    interpretation(parser, TWO_CLASSES, SIGNED)
    manifest = parser.add_argument_group("manifest")
    manifest.add_argument("--path-column", default="path", metavar="NAME")
    manifest.add_argument("--label-column", default="label", metavar="NAME")
    manifest.add_argument("--split-column", default="split", metavar="NAME")
    manifest.add_argument("--split", metavar="VALUE", help="only rows of this split")
    tuning = parser.add_argument_group("fine-tuning (--head finetune)")
    tuning.add_argument("--epochs", type=int, default=5)
    tuning.add_argument("--learning-rate", type=float, default=1e-4, metavar="RATE")
    tuning.add_argument("--from-scratch", action="store_true", help="begin from random weights")
    running = parser.add_argument_group("running")
    running.add_argument("--batch-size", type=int, default=32, metavar="N")
    running.add_argument(
        "--shard-size", type=int, default=1024, metavar="N", help="images kept together when interrupted"
    )
    running.add_argument("--workers", type=int, default=0, metavar="N", help="decoding threads (default: one per core)")
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--restart", action="store_true", help="begin anew instead of continuing or keeping a result")
    return running


def demo(commands: Any) -> None:
    parser = command(
        commands, "demo", "Audit handwritten digits with planted wrong labels, offline.", "  gradattn demo --out demo"
    )
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for dataset and results (default demo)")
    parser.add_argument("--flow", action="store_true", help="run as a Prefect flow")
    output_style(parser)
