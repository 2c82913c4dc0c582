"""``gradattn audit``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from gradattn_core.cli.options import Commands, command, model, out_folder, output_style
from gradattn_core.cli.report import show_audit
from gradattn_core.cli.terminal import progress_display, tell

if TYPE_CHECKING:
    from gradattn_core.config import AuditConfig
    from gradattn_core.records import AuditSummary


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "audit",
        run,
        "Sweep a dataset, rank its labels by suspicion, and interpret the suspects.",
        "  gradattn audit photos/\n"
        "  gradattn audit labels.csv --path-column file --label-column class --split train\n"
        "  gradattn audit s3://bucket/photos/\n"
        "  gradattn audit 'shards/train-{000..012}.tar' --label-column species\n"
        "  gradattn audit photos/ --model vit_tiny_patch16_224 --checkpoint weights.safetensors --head as-is\n"
        "  gradattn audit /shared/photos --out /shared/results --runner ray --ray-address 10.0.0.5:6379",
    )
    audit_options(parser).add_argument(
        "--flow", action="store_true", help="run as a Prefect flow: retries, artifacts, Prefect's page"
    )
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Audit and show the summary."""
    flow = options.flow or options.runner == "ray"
    summary = audit(audit_config(options), flow=flow, quiet=options.quiet or options.json)
    tell(options, summary, partial(show_audit, summary, options.out))
    return 0


def audit(config: AuditConfig, *, flow: bool, quiet: bool) -> AuditSummary:
    """Run the audit here, or as a Prefect flow."""
    with progress_display(quiet=quiet) as progress:
        if not flow:
            from gradattn_core.audit.run import run_audit

            return run_audit(config, progress)
        # Prefect takes seconds to import, and only flows need it.
        from flows.audit import run_as_flow

        return run_as_flow(config, progress)


def audit_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Everything that says what to audit and how, of which :func:`audit_config` makes an ``AuditConfig``.

    Returns:
        the group of options on running it.
    """
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="folder root/<label>/**/image, a zip or tar of one, WebDataset tars, Parquet with pictures, or a "
        "CSV/Parquet/JSONL manifest; a path, a URL (s3://, gs://, hf://, https://), or a pattern of several files",
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
    parser.add_argument(
        "--in-sample",
        default="auto",
        choices=("auto", "yes", "no"),
        help="whether the model was trained on these very labels: then it has no vote (default: find out)",
    )
    parser.add_argument("--interpret", default="suspects", choices=("suspects", "all"), help="which images get a map")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.25,
        metavar="P",
        help="suspicion from which an image is a suspect although the model agrees with its label (default 0.25)",
    )
    interpretation = parser.add_argument_group("interpretation")
    interpretation.add_argument(
        "--objective",
        default="difference",
        choices=("difference", "ratio", "quotient", "normalised"),
        help="what is differentiated (default difference, the log-odds)",
    )
    interpretation.add_argument(
        "--correction",
        default="complete",
        choices=("complete", "centred"),
        help="how the gradient weights attention (default complete)",
    )
    manifest = parser.add_argument_group("manifest, table or samples")
    manifest.add_argument(
        "--path-column", default="path", metavar="NAME", help="of the paths, or of a Parquet file's pictures"
    )
    manifest.add_argument("--label-column", default="label", metavar="NAME", help="or field of a sample's JSON")
    manifest.add_argument("--split-column", default="split", metavar="NAME")
    manifest.add_argument("--split", metavar="VALUE", help="only this split: rows, folder, or files named after it")
    tuning = parser.add_argument_group("fine-tuning (--head finetune)")
    tuning.add_argument("--epochs", type=int, default=5)
    tuning.add_argument("--learning-rate", type=float, default=1e-4, metavar="RATE")
    tuning.add_argument("--from-scratch", action="store_true", help="begin from random weights")
    running = parser.add_argument_group("running")
    running.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "float16", "bfloat16"),
        help="of the sweep (default: float16 on a GPU, float32 on a CPU); maps are always float32",
    )
    running.add_argument(
        "--batch-size",
        type=int,
        default=0,
        metavar="N",
        help="images per forward pass (default: what suits the device)",
    )
    running.add_argument(
        "--shard-size",
        type=int,
        default=0,
        metavar="N",
        help="images kept together when interrupted, at most 100000 (default: 1024 on a CPU, up to 16384 on a GPU)",
    )
    running.add_argument("--workers", type=int, default=0, metavar="N", help="that decode (default: one per core)")
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--restart", action="store_true", help="begin anew instead of continuing or keeping a result")
    running.add_argument(
        "--runner",
        default="local",
        choices=("local", "ray"),
        help="where the shards run: every GPU of this machine, else its CPU (local), or a Ray cluster, as a flow (ray)",
    )
    running.add_argument(
        "--ray-address", metavar="ADDRESS", help="the cluster's head, HOST:PORT or auto (default: one of this machine)"
    )
    running.add_argument(
        "--ray-storage",
        metavar="URL",
        help="a folder, such as s3://bucket/gradattn, over which nodes exchange files (default: --out lies on storage "
        "that all of them share)",
    )
    return running


def audit_config(options: argparse.Namespace) -> AuditConfig:
    """What the options of :func:`audit_options` ask for.

    Raises:
        GradattnError: a value that no audit can use.
    """
    from gradattn_core.config import DEFAULT_MODEL, AuditConfig
    from gradattn_core.model.spec import FineTuning

    return AuditConfig(
        dataset=options.dataset,
        out=options.out,
        model=options.model or DEFAULT_MODEL,
        checkpoint=options.checkpoint,
        model_arguments=options.model_arguments,
        from_scratch=options.from_scratch,
        head=options.head,
        class_map=options.class_map,
        folds=options.folds,
        in_sample=options.in_sample,
        interpret=options.interpret,
        threshold=options.threshold,
        objective=options.objective,
        correction=options.correction,
        precision=options.precision,
        batch_size=options.batch_size,
        shard_size=options.shard_size,
        path_column=options.path_column,
        label_column=options.label_column,
        split_column=options.split_column,
        split=options.split,
        finetuning=FineTuning(
            options.epochs, options.learning_rate, batch_size=options.batch_size or FineTuning().batch_size
        ),
        seed=options.seed,
        device=options.device,
        workers=options.workers,
        restart=options.restart,
        runner=options.runner,
        ray_address=options.ray_address,
        ray_storage=options.ray_storage,
    )
