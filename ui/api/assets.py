"""The clients' own code: the files of ``ui/client``, read once, known by their content."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parents[1] / "client"
_IMPORTED = re.compile(r'^(?:import|\}) .*"\./([\w.]+\.js)";$', re.MULTILINE)
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """One file: its bytes, what they are, and a digest of them."""

    content: bytes
    media_type: str
    etag: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """All files by name. There is no way from a name to any other file of this machine."""
    found = {}
    for file in sorted(_FOLDER.iterdir()):
        if file.suffix in _TYPES:
            content = file.read_bytes()
            found[file.name] = Asset(content, _TYPES[file.suffix], f'"{_digest(content)}"')
    return MappingProxyType(found)


@functools.cache
def version() -> str:
    """One word for all files as they are: the folder of their addresses, so that a browser keeps them for good."""
    return _digest("".join(f"{name}{asset.etag}" for name, asset in assets().items()).encode())


@functools.cache
def modules(name: str) -> tuple[str, ...]:
    """The modules that this one imports, and those that they do: told beforehand they come together, not in steps."""
    found = [f"{name}.js"]
    for each in found:
        text = assets()[each].content.decode() if each in assets() else ""
        found += [other for other in dict.fromkeys(_IMPORTED.findall(text)) if other not in found]
    return tuple(found)


async def _serve(request: Request) -> Response:
    asset = assets().get(request.path_params["name"])
    if asset is None:
        return Response("There is no such file.", 404, media_type="text/plain")
    of_this = request.path_params.get("version") == version()
    headers = {
        "ETag": asset.etag,
        "Cache-Control": "public, max-age=31536000, immutable" if of_this else "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


ROUTES = [Route("/client/{name}", _serve), Route("/client/{version}/{name}", _serve)]
"""With the version in the address it holds for good, and so do the relative imports in it; without, it is asked for
again each time."""


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=10).hexdigest()
