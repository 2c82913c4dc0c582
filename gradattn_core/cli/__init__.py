"""The command line: each command beside its options, and what is heavy imported when it runs, so that help is quick."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence

import gradattn_core
from gradattn_core.cli import terminal
from gradattn_core.cli.options import CommandParser
from gradattn_core.errors import GradattnError

USAGE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when it did its work, 1 when ``apply`` left some files alone, 2 when the input is at fault (one sentence on
        stderr), 3 when ``audit --fail-above`` found more, 130 after Ctrl-C.
    """
    warnings.showwarning = _note
    _open_streams()
    try:
        options = build_parser().parse_args(arguments)
        terminal.log_as(getattr(options, "log_format", "text"))
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except GradattnError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        sentence = "interrupted; the same command (without --restart) continues where it stopped"
        terminal.log("interrupted", sentence, f"gradattn: {sentence}")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`gradattn export | head`); nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # What the system says of a file, whether it was to be read or written: no command knows all files it meets.
        what = error.strerror or str(error) or type(error).__name__
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{what}; what was finished is kept, and once that is mended the same command goes on")
    except (RuntimeError, MemoryError) as error:
        if str(error).startswith("Symlink loop"):  # as pathlib says it
            return _complain(f"{error}: its links lead in a circle; give another path")
        from gradattn_core.model.device_memory import is_memory_fault

        if not is_memory_fault(error):
            raise
        return _complain("the device is out of memory; the same command with a smaller --batch-size continues")


def build_parser() -> CommandParser:
    """The whole command line."""
    from gradattn_core.cli import (
        apply,
        audit,
        check,
        clean,
        decide,
        demo,
        diff,
        embed,
        explain,
        export,
        pairs,
        report,
        review,
        schedule,
        spot_check,
        summary,
    )

    parser = CommandParser(
        prog="gradattn",
        description="Find wrong labels in image datasets and show why.",
        epilog="examples:\n"
        "  gradattn demo\n"
        "  gradattn audit photos/                       # photos/<label>/*.jpg\n"
        "  gradattn audit labels.csv --model vit_base_patch16_224 --head probe\n"
        "  gradattn ui\n"
        "  gradattn export --min-suspicion 0.9 --csv worst.csv\n"
        "  gradattn apply --to corrected/\n"
        "  gradattn schedule add photos/ --cron '0 3 * * 1' && gradattn worker\n"
        "  gradattn explain bird.jpg --for kite --against 'bald eagle'",
    )
    parser.add_argument("--version", action="version", version=f"gradattn {gradattn_core.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    looking = (audit, check, clean, summary, pairs, report, diff, review)
    for module in (*looking, decide, export, embed, spot_check, apply, schedule, explain, demo):
        module.add(commands)
    return parser


def _open_streams() -> None:
    """Whatever is printed can be: in any encoding, and to a stream that whoever started us has closed."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _note(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Our own warnings are written for users; those of libraries are for programmers."""
    if category is UserWarning:
        terminal.log("note", str(message), f"gradattn: note: {message}")


def _complain(sentence: str) -> int:
    sentence = " ".join(sentence.split())
    terminal.log("error", sentence, f"gradattn: {sentence}")
    return USAGE
