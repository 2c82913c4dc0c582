"""``gradattn audit``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from gradattn_core.cli.options import Commands, add_parameters, command, output_style
from gradattn_core.cli.report import show_audit
from gradattn_core.cli.terminal import progress_display, tell
from gradattn_core.config import RUNNING, AuditConfig, parameters

if TYPE_CHECKING:
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
            from gradattn_core.audit.run import audit_images

            return audit_images(config, progress)
        # Prefect takes seconds to import, and only flows need it.
        from flows.audit import run_as_flow

        return run_as_flow(config, progress)


def audit_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Every parameter of an audit, of which :func:`audit_config` makes an ``AuditConfig``.

    Returns:
        the group of options on running it.
    """
    running = add_parameters(parser, parameters())[RUNNING]
    assert isinstance(running, argparse._ArgumentGroup)
    return running


def audit_config(options: argparse.Namespace) -> AuditConfig:
    """What the options of :func:`audit_options` ask for.

    Raises:
        GradattnError: a value that no audit can use.
    """
    return AuditConfig.of(vars(options))
