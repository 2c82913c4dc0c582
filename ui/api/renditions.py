"""The pictures of an audit at the sizes that a client shows: each made once, kept on disk, the newest asked first.

A rendition's name is a digest of the picture's content and of all that decides what is drawn, so nothing ever has to be
made invalid. Nothing is shown but the audit's own images; below a folder that somebody named on the page, only files
with the very content that the audit saw.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gradattn_core.dataset.address import file_name, is_url
from gradattn_core.dataset.boxes import framed, part_of
from gradattn_core.dataset.decoding import DecodedImage, decode_image, read_image
from gradattn_core.dataset.text import shown
from gradattn_core.errors import GradattnError, UnreadableImageError
from gradattn_core.files import write_bytes
from gradattn_core.store.images import Place
from ui.api import freshness, token
from ui.api.answers import Absent, Asked, AskedWrongly, as_json, guarded, post
from ui.api.makers import cache_folder, makers
from ui.api.whereabouts import whereabouts
from ui.launch import directory

Kind = Literal["stage", "original", "small", "large", "around"]

SIDES: dict[Kind, int] = {"small": 280, "large": 800, "stage": 1600}
"""Most pixels of a rendition's longer side; nothing is enlarged. ``around`` is the picture that a box lies in."""

# Its size tells a client that it may be this.
_MISSING = b"""<svg xmlns="http://www.w3.org/2000/svg" width="283" height="283" viewBox="0 0 283 283">
<rect width="283" height="283" fill="#111615"/><g fill="none" stroke="#c3cbc9" stroke-width="6" stroke-linecap="round">
<rect x="91" y="76" width="100" height="80" rx="8"/><path d="M81 186 201 46"/></g>
<text x="142" y="226" fill="#fff" font-family="sans-serif" font-size="22" text-anchor="middle">File missing</text>
</svg>"""
# Changes whenever the same input would be drawn differently.
_DRAWING = 3
# Up to so many pixels of its own a picture is sent without loss: where each is seen as a square, no artefact may stand
# beside it.
_FEW = 256 * 256
# A browser turns these upright as the audit did; any other form is decoded here.
_SENT_AS_THEY_ARE = ("JPEG", "PNG", "WEBP")
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Wanted:
    """One rendition of one image, as a request names it.

    Attributes:
        content_hash: what the address says the picture holds; empty where it does not say.
    """

    audit: str
    path: str
    content_hash: str
    kind: Kind


async def _picture(request: Request) -> Response:
    """``GET picture/{kind}``: the picture itself, good for ever where the address names its content.

    Instead of one that cannot be read comes a drawing of that, as browsers report what is not found as an error of the
    page. With ``probe`` comes why there is no picture, empty where there is one.
    """

    async def answer(session: token.Session) -> Response:
        kind = request.path_params["kind"]
        if kind not in (*SIDES, "original", "around"):
            raise Absent(f"There is no form {kind!r} of a picture.")
        query = request.query_params
        wanted = Wanted(query.get("audit", ""), query.get("path", ""), query.get("v", ""), kind)
        content, lasting, problem = _MISSING, False, ""
        try:
            content, lasting = await _content(wanted, session)
        except UnreadableImageError as error:
            problem = str(error)
        if query.get("probe"):
            return as_json({"problem": problem})
        headers = {
            # Private: a picture is for whoever holds the token, and not for a proxy's other users.
            "Cache-Control": "private, max-age=31536000, immutable" if lasting else "no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }
        return Response(content, headers=headers, media_type="image/svg+xml" if problem else _media_type(content))

    return await guarded(request, "pictures", answer)


async def _content(wanted: Wanted, session: token.Session) -> tuple[bytes, bool]:
    """The bytes to send, and whether they are those of the content that the address names."""
    kept = _target(wanted)
    if kept is not None:
        with suppress(OSError):
            return await run_in_threadpool(kept.read_bytes), True
    place = await run_in_threadpool(_place, wanted, session)
    work = makers().start((wanted, session.root), functools.partial(_made, wanted, place, session.root))
    # Shielded: others may wait for the same picture when this request goes away.
    content, found = await asyncio.shield(asyncio.wrap_future(work))
    return content, found == wanted.content_hash


def look_below(asked: Asked) -> Mapping[str, str]:
    """``POST data-root``: a token that has this session look for pictures below another folder.

    The folder is taken only if it has the very file that the audit saw, so that nobody looks at other files of this
    machine through it, and nobody learns which ones there are.
    """
    path, folder = asked.text("path"), asked.text("folder", longest=4096).strip()
    if PurePosixPath(path).is_absolute() or is_url(path):
        raise AskedWrongly("This picture lies at an address of its own: no folder can have it.")
    if not folder:
        raise AskedWrongly("folder is missing")
    moved = replace(asked.session, root=str(Path(folder).absolute()))
    try:
        _made(Wanted(asked.audit, path, "", "small"), _place(Wanted(asked.audit, path, "", "small"), moved), moved.root)
    except (GradattnError, OSError, ValueError):
        raise AskedWrongly(f"That folder does not have this picture: it is looked for at {path}") from None
    return {"root": token.issue(moved.login, root=moved.root)}


ROUTES = [Route("/picture/{kind}", _picture, methods=["GET"]), post("data-root", look_below)]


def missing(place: Place) -> str:
    """What is said instead of a picture whose file is gone."""
    name = shown(PurePosixPath(place.address).name)
    return f"This file is missing: {name}. You can skip it or name the folder."


def is_kept(content_hash: str) -> bool:
    """Whether Review can show the picture that the audit saw, wherever its file is."""
    kept = _target(Wanted("", "", content_hash, "stage"))
    return kept is not None and kept.is_file()


def _place(wanted: Wanted, session: token.Session) -> Place:
    place = whereabouts.of(Asked(session, {}).store, wanted.audit, wanted.path)
    if wanted.content_hash not in ("", place.content_hash):
        raise Absent("The audit saw another picture at this place.")
    return place


def _target(wanted: Wanted) -> Path | None:
    """Where a rendition is kept; None for those that are not kept."""
    if wanted.kind == "original" or not wanted.content_hash:
        return None
    name = "\0".join((str(_DRAWING), wanted.kind, wanted.content_hash))
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return cache_folder(str(directory())) / digest[:2] / f"{digest[2:]}.{wanted.kind}"


def _made(wanted: Wanted, place: Place, root: str | None) -> tuple[bytes, str]:
    """The bytes to send, and the hash of the file they are from. Raises UnreadableImageError: why there are none."""
    side = SIDES.get(wanted.kind)
    if side is not None and place.preview is not None:
        # Only a smaller copy is near; its hash is that of the picture it was made from.
        content, found = _scaled(read_image(place.preview), side), place.content_hash
    else:
        if not is_url(place.address) and not Path(place.address).is_file():
            raise UnreadableImageError(missing(place))
        data, found = freshness.read_now(place)
        if root is not None and found != place.content_hash:
            raise UnreadableImageError("below the folder you named there is another picture at this place")
        if wanted.kind == "around":
            content = _around(data, place)
        else:
            content = data if _is_shown_by_browsers(data, side) else _decoded(data, place, side)
    target = _target(wanted)
    if target is not None and found == wanted.content_hash:
        _keep(target, content)
    return content, found


def _is_shown_by_browsers(data: bytes, side: int | None) -> bool:
    """Whether a browser shows these bytes as the audit saw them: still, 8 bits, opaque, and no larger than wanted."""
    if part_of(data) is not None:
        return False
    try:
        with Image.open(io.BytesIO(data), formats=_SENT_AS_THEY_ARE) as image:
            still = getattr(image, "n_frames", 1) == 1
            fits = len(data) <= _MOST_BYTES and (side is None or max(image.size) <= side)
            return fits and still and image.mode in ("RGB", "L") and "transparency" not in image.info
    except Exception:  # whatever is wrong with it, the decoder says so
        return False


def _decoded(data: bytes, place: Place, side: int | None) -> bytes:
    name = place.address.rsplit("/", 1)[-1]
    if side is None:
        image = decode_image(data, name, white=place.white).image
        return _encoded(image, lossless=len(data) <= _MOST_BYTES // 4 or _is_small(image))
    suffices = functools.partial(fitting, side=side)
    return _scaled(decode_image(data, name, suffices=suffices, white=place.white), side)


def _around(data: bytes, place: Place) -> bytes:
    """The whole picture of a box, with the box drawn."""
    part = part_of(data)
    if part is None:
        raise UnreadableImageError("This picture is no box of another one.")
    side = SIDES["stage"]
    name = file_name(place.address)
    whole = decode_image(part.data, name, suffices=functools.partial(fitting, side=side), white=place.white)
    image = whole.image.resize(fitting(whole.width, whole.height, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _encoded(framed(image, part, (whole.width, whole.height)), lossless=False)


def _scaled(read: DecodedImage, side: int) -> bytes:
    size, image = fitting(read.width, read.height, side), read.image
    if image.width > size[0] or image.height > size[1]:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    # The pixels of one that was made smaller are nobody's; as PNG it has five times the bytes and takes far longer.
    return _encoded(image, lossless=image.size == (read.width, read.height) and _is_small(image))


def _is_small(image: Image.Image) -> bool:
    return image.width * image.height <= _FEW


def fitting(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) with the longer side at most ``side`` and the shape kept; small pictures stay as they are."""
    scale = min(1.0, side / max(width, height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _encoded(image: Image.Image, *, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, "PNG", compress_level=3)
    else:
        image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _media_type(content: bytes) -> str:
    if content.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if content.startswith(b"RIFF") else "image/jpeg"


def _keep(target: Path, content: bytes) -> None:
    """On disk, if there is room; a picture that cannot be kept is made again."""
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)
        makers().count(target.parents[1], len(content))
