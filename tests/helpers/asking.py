"""A request to a route's handler, without a server: whoever opened the page asks."""

from __future__ import annotations

import json
import math

from ui.api.answers import Asked
from ui.api.shapes import plain
from ui.api.token import Session


def asked(**parameters: object) -> Asked:
    """What a handler is handed; the output folder is the one that the environment names."""
    return Asked(Session(None, None, "all", math.inf), parameters)


def to_json(answer: object) -> str:
    """An answer as a client gets it, but with every letter as it is."""
    return json.dumps(answer, default=plain, ensure_ascii=False, allow_nan=False)
