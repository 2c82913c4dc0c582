"""``gradattn apply``."""

from __future__ import annotations

from gradattn_core.cli.options import Commands, command, out_folder, output_style


def apply(commands: Commands) -> None:
    parser = command(
        commands,
        "apply",
        "Make the corrected dataset of the reviewers' standing decisions: relabelled images under their new label, "
        "removed ones left out, all others as they are.",
        "  gradattn apply --dry-run\n"
        "  gradattn apply --to corrected/ && gradattn audit corrected/\n"
        "  gradattn apply --manifest corrected.csv\n"
        "  gradattn apply --in-place                    # the dataset itself\n"
        "  gradattn apply --undo                        # and back\n"
        "\nexit code: 0 all done, 1 done but for files that were left alone, 2 nothing done",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    way.add_argument("--to", metavar="DIR", help="a new tree DIR/<label>/… with every image; the dataset is only read")
    way.add_argument(
        "--manifest", metavar="FILE", help="a new manifest path,label (.csv, .parquet or .jsonl); as export corrected"
    )
    way.add_argument(
        "--in-place",
        action="store_true",
        help="the dataset itself: move files between its class folders, removed ones to OUT/removed; or rewrite its "
        "manifest, the original kept in OUT/manifests; every step is in OUT/applied.jsonl before it is taken",
    )
    way.add_argument("--undo", action="store_true", help="take the last --in-place back; never over what changed since")
    out_folder(parser)
    parser.add_argument("--audit", metavar="ID", help="which audit's images (default: the latest)")
    parser.add_argument(
        "--link",
        choices=("symlink", "hard", "copy"),
        help="what --to makes (default symlink; images are copied where links cannot be made)",
    )
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="where the dataset is now, if it was moved since the audit (default: $GRADATTN_DATA_ROOT, else where the "
        "audit found it)",
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="how many files to list (default 20)")
    output_style(parser)
