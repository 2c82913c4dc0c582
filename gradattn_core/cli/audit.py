"""``gradattn audit``."""

from __future__ import annotations

import argparse

from gradattn_core.audit.run import run_audit
from gradattn_core.cli.progress import progress_display
from gradattn_core.cli.show import show_summary
from gradattn_core.config import DEFAULT_MODEL, AuditConfig
from gradattn_core.model.training import FineTuning
from gradattn_core.records import AuditSummary


def run(options: argparse.Namespace) -> int:
    """Audit and show the summary."""
    flow = options.flow or options.runner == "ray"
    summary = audit(audit_config(options), flow=flow, quiet=options.quiet or options.json)
    show_summary(summary, as_json=options.json, quiet=options.quiet, out=options.out)
    return 0


def audit_config(options: argparse.Namespace) -> AuditConfig:
    """What the options of ``cli.arguments.audit.audit_options`` ask for.

    Raises:
        GradattnError: a value that no audit can use.
    """
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


def audit(config: AuditConfig, *, flow: bool, quiet: bool) -> AuditSummary:
    """Run the audit here, or as a Prefect flow."""
    with progress_display(quiet=quiet) as progress:
        if not flow:
            return run_audit(config, progress)
        # Prefect takes seconds to import, and only flows need it.
        from flows.audit import run_as_flow

        return run_as_flow(config, progress)
