"""A request to a route's handler, without a server: whoever opened the page asks."""

from __future__ import annotations

import math

from ui.api.answers import Asked
from ui.api.token import Session


def asked(**parameters: object) -> Asked:
    """What a handler is handed; the output folder is the one that the environment names."""
    return Asked(Session(None, None, "all", math.inf), parameters)
