"""The command line. Every command is imported when it runs, so that ``gradattn --help`` answers at once."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence

from gradattn_core.cli.arguments import build_parser
from gradattn_core.errors import GradattnError

USAGE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when it did its work, 1 when ``apply`` left some files alone, 2 when the input is at fault (one sentence on
        stderr), 130 after Ctrl-C.
    """
    warnings.showwarning = _note
    try:
        options = build_parser().parse_args(arguments)
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except GradattnError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("gradattn: interrupted; the same command (without --restart) continues where it stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`gradattn export | head`); nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f" ({error.filename})" if error.filename else ""
        return _complain(
            f"cannot write: {error.strerror}{where}; what was finished is kept, the same command continues"
        )
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        return _complain("the device is out of memory; the same command with a smaller --batch-size continues")


def _note(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Our own warnings are written for users; those of libraries are for programmers."""
    if category is UserWarning:
        print(f"gradattn: note: {message}", file=sys.stderr)


def _complain(sentence: str) -> int:
    print(f"gradattn: {' '.join(sentence.split())}", file=sys.stderr)
    return USAGE
