"""``gradattn embed``: the map of an audit's pictures, which the review page makes by itself when it is first opened."""

from __future__ import annotations

import argparse
import os

from gradattn_core.cli.options import Commands, command, open_store, out_folder, output_style, which_audit
from gradattn_core.cli.terminal import progress_display, tell


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "embed",
        run,
        "Lay out an audit's pictures in the plane, those that the model sees alike near each other: the page's map. "
        "The page does it by itself when its map is first opened.",
        "  gradattn embed\n"
        "  gradattn embed results/ --audit 20261101T0300-0a1b2c3d\n"
        "  gradattn embed --anew                        # although there is one",
    )
    # Absent, it must leave --out alone.
    parser.add_argument("out", metavar="DIR", nargs="?", default=argparse.SUPPRESS, help="output folder, as --out")
    out_folder(parser)
    which_audit(parser)
    parser.add_argument("--anew", action="store_true", help="make it although the audit has one")
    parser.add_argument(
        "--log-format", choices=["text", "json"], default="text", help="how progress is said on standard error"
    )
    output_style(parser)


def run(options: argparse.Namespace) -> int:
    """Make the map of an audit, unless it has one."""
    # Threads that wait for work by spinning take the cores from each other; it is read when the libraries are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    store = open_store(options)
    audit_id = options.audit or store.audits.latest_id()
    images = store.audits.one(audit_id).images
    there, _ = store.embeddings.count(audit_id)
    if there and not options.anew:
        facts = {"audit_id": audit_id, "pictures": there, "images": images, "made": False}
        tell(options, facts, [f"the audit has a map of {there:,} pictures already; --anew makes it again"])
        return 0
    from gradattn_core.embedding import make_embedding

    with progress_display(quiet=options.quiet) as progress:
        pictures = make_embedding(store, audit_id, progress)
    facts = {"audit_id": audit_id, "pictures": pictures, "images": images, "made": True}
    tell(options, facts, [sentence(pictures, images)])
    return 0


def sentence(pictures: int, images: int) -> str:
    """How many pictures the map shows."""
    return f"{pictures:,} of {images:,}, all suspects included" if pictures < images else f"all {images:,} pictures"
