"""Words for the terminal. Imports no model, so that commands that only read the store answer soon."""

from __future__ import annotations

from rich.control import strip_control_codes
from rich.markup import escape as escape_markup


def escape(text: str) -> str:
    """A label or path as plain text: neither markup nor, with the escape character gone, a terminal's commands."""
    return escape_markup(strip_control_codes(text).replace("\x1b", ""))
