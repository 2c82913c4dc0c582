"""``gradattn audit``."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from gradattn_core.cli.options import Commands, add_parameters, command, output_style
from gradattn_core.cli.summary import show_audit
from gradattn_core.cli.terminal import progress_display, tell
from gradattn_core.config import RUNNING, AuditConfig, parameters

if TYPE_CHECKING:
    from gradattn_core.records import AuditSummary

ABOVE = 3
"""The exit status of an audit that found more than ``--fail-above`` allows."""
_COMPILER = "torch._dynamo.utils"


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
        "  gradattn audit /shared/photos --out /shared/results --runner ray --ray-address 10.0.0.5:6379\n"
        "  gradattn audit photos/ --json --log-format json --fail-above 1% > audit.json   # in a pipeline",
    )
    running = audit_options(parser)
    running.add_argument(
        "--flow", action="store_true", help="run as a Prefect flow: retries, artifacts, Prefect's page"
    )
    running.add_argument(
        "--fail-above",
        type=limit,
        metavar="N",
        help=f"exit with {ABOVE} where more than N images, or N%% of all, are suspects or could not be read",
    )
    running.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how progress, notes and errors are written to standard error (default text); json: an object a line",
    )
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Audit and show the summary."""
    flow = options.flow or options.runner == "ray"
    # Whoever asks for a log of objects wants it beside the answer in JSON too.
    quiet = options.quiet or (options.json and options.log_format == "text")
    summary = audit(audit_config(options), flow=flow, quiet=quiet)
    tell(options, summary, partial(show_audit, summary, options.out))
    return ABOVE if options.fail_above is not None and _is_above(summary, options.fail_above) else 0


def limit(text: str) -> tuple[float, bool]:
    """The value of ``--fail-above``: a number, and whether it is a share of all images."""
    is_share = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf or (is_share and number > 100):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of images, as 20, nor a share of them, as 1%")
    return (number / 100 if is_share else number), is_share


def _is_above(summary: AuditSummary, limit: tuple[float, bool]) -> bool:
    number, is_share = limit
    listed = summary.images + summary.failures
    return summary.suspects + summary.failures > (number * listed if is_share else number)


def audit(config: AuditConfig, *, flow: bool, quiet: bool) -> AuditSummary:
    """Run the audit here, or as a Prefect flow."""
    with progress_display(quiet=quiet) as progress:
        import_timm()
        if not flow:
            from gradattn_core.audit.run import audit_images

            return audit_images(config, progress)
        # Prefect takes seconds to import, and only flows need it.
        from flows.audit import run_as_flow

        return run_as_flow(config, progress)


def import_timm() -> None:
    """Import timm without torch's compiler: a fourth of the processor time until an audit's first batch.

    torchvision, which timm needs, imports the compiler for a function that operators for detection call, and timm keeps
    one of its classes from being compiled, which nothing here does. Whoever compiles later gets the compiler.
    """
    if _COMPILER in sys.modules:
        return
    import torch.compiler

    disable = torch.compiler.disable
    sys.modules[_COMPILER] = _CompilerLater(_COMPILER)
    torch.compiler.disable = lambda fn=None, *_, **__: fn if fn is not None else lambda function: function
    try:
        importlib.import_module("timm")
    finally:
        torch.compiler.disable = disable
        if isinstance(sys.modules.get(_COMPILER), _CompilerLater):
            del sys.modules[_COMPILER]


class _CompilerLater(ModuleType):
    """Stands for a part of torch's compiler until something of it is wanted."""

    def is_compile_supported(self, device_type: str) -> bool:
        """What torchvision imports."""
        return bool(self._compiler().is_compile_supported(device_type))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # asked by Python, of every module
            raise AttributeError(name)
        return getattr(self._compiler(), name)

    def _compiler(self) -> ModuleType:
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        return importlib.import_module(_COMPILER)


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
    config = AuditConfig.of(vars(options))
    config.refuse_idle()
    return config
