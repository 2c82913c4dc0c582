"""Forms of ``gradattn export`` that hand suspects out with their pictures: to other tools, and as evidence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradattn_core.cli.choosing import check_rows, chosen_rows, row_options
from gradattn_core.cli.options import CommandParser, data_root, open_store, out_folder, output_style, which_audit
from gradattn_core.cli.terminal import harmless, tell
from gradattn_core.errors import StoreError

if TYPE_CHECKING:
    from gradattn_core.interchange.handed import Handed, Left
    from gradattn_core.store.store import Store

_BACK = "gradattn import decisions"
_NOTHING = "no image passes these options; choose others"


def add_forms(export: CommandParser) -> None:
    """The forms of ``gradattn export`` that write more than a table."""
    form = export.add_form(
        "label-studio",
        run_label_studio,
        "Suspects as tasks of Label Studio, each with the suggested label as a prediction; the labelling interface "
        "on standard output.",
        "  gradattn export label-studio -o tasks.json > interface.xml\n"
        "  gradattn export label-studio -o tasks.json --embed --top 200",
    )
    _options(form, "FILE", "the tasks, .json")
    pictures = form.add_mutually_exclusive_group()
    pictures.add_argument(
        "--url-prefix",
        metavar="URL",
        help="the pictures lie below this address (default: Label Studio serves them from this machine's disk, with "
        "its local files switched on and the document root /)",
    )
    pictures.add_argument("--embed", action="store_true", help="put the pictures into the tasks, at most 1,024 pixels")
    form = export.add_form(
        "cvat",
        run_cvat,
        "Suspects as a zip for CVAT, in its format ImageNet 1.1, under their given labels.",
        "  gradattn export cvat -o suspects.zip\n  gradattn export cvat -o labels.zip --no-pictures",
    )
    _options(form, "FILE", "the zip")
    form.add_argument("--no-pictures", action="store_true", help="labels alone, for a task that has these pictures")
    form = export.add_form(
        "fiftyone",
        run_fiftyone,
        "Suspects as a dataset folder of FiftyOne, with suspicion, kind, map and decision as fields.",
        "  gradattn export fiftyone -o suspects/\n  gradattn export fiftyone -o suspects/ --load suspects",
    )
    _options(form, "FOLDER", "a new folder")
    form.add_argument(
        "--load", metavar="NAME", help="also load it into FiftyOne, where that is installed, as a dataset of this name"
    )
    form = export.add_form(
        "huggingface",
        run_huggingface,
        "Suspects as a folder that Hugging Face datasets loads and the hub takes: pictures and metadata.parquet.",
        "  gradattn export huggingface -o suspects/ && hf upload me/suspects suspects/ --repo-type dataset",
    )
    _options(form, "FOLDER", "a new folder")
    form = export.add_form(
        "coco",
        run_coco,
        "Suspects in the JSON of COCO: one annotation without a box for each picture, pictures by their paths.",
        "  gradattn export coco -o suspects.json",
    )
    _options(form, "FILE", "the JSON")
    form = export.add_form(
        "evidence",
        run_evidence,
        "Every suspect's picture, its map with the numbers, and one table of them all, in a new folder.",
        "  gradattn export evidence -o evidence/\n  gradattn export evidence -o kites/ --given kite --top 50",
    )
    _options(form, "FOLDER", "a new folder")


def run_label_studio(options: argparse.Namespace) -> int:
    """Write the tasks, and the labelling interface on standard output."""
    from gradattn_core.files import write_output
    from gradattn_core.interchange.label_studio import labelling_config, tasks

    store, audit_id, images = _chosen(options)
    content, count, left = tasks(images, audit_id, url_prefix=options.url_prefix, embed=options.embed)
    write_output(Path(options.output), content)
    config = labelling_config(store.audits.classes(audit_id))
    _tell(options, audit_id, count, left, "tasks", [config.rstrip()], interface=config)
    return 0


def run_cvat(options: argparse.Namespace) -> int:
    """Write the zip."""
    from gradattn_core.interchange.cvat import write_cvat

    _, audit_id, images = _chosen(options)
    count, left = write_cvat(Path(options.output), images, pictures=not options.no_pictures)
    _tell(options, audit_id, count, left, "pictures", [])
    return 0


def run_fiftyone(options: argparse.Namespace) -> int:
    """Write the folder, and load it into FiftyOne where that is asked for."""
    from gradattn_core.interchange.fiftyone_folder import load_into_fiftyone, write_fiftyone

    store, audit_id, images = _chosen(options)
    around = store.showing.surroundings(audit_id, [image.path for image in images])
    maps = {path: found.evidence for path, found in around.items() if found.evidence is not None}
    target = Path(options.output)
    count, left = write_fiftyone(target, images, maps, store.audits.classes(audit_id), audit_id)
    lines = [f"load it with  fiftyone datasets create -n NAME -d {target} -t fiftyone.types.FiftyOneDataset"]
    if options.load is not None:
        load_into_fiftyone(target, options.load)
        lines = [f"loaded       as the dataset {options.load}; fiftyone app launch {options.load}"]
    _tell(options, audit_id, count, left, "samples", lines)
    return 0


def run_huggingface(options: argparse.Namespace) -> int:
    """Write the folder."""
    from gradattn_core.interchange.huggingface import write_huggingface

    _, audit_id, images = _chosen(options)
    count, left = write_huggingface(Path(options.output), images, audit_id)
    lines = [f'load it with  datasets.load_dataset("imagefolder", data_dir="{options.output}")']
    _tell(options, audit_id, count, left, "pictures", lines)
    return 0


def run_coco(options: argparse.Namespace) -> int:
    """Write the JSON."""
    from gradattn_core.files import write_output
    from gradattn_core.interchange.coco_labels import coco_of

    store, audit_id, images = _chosen(options)
    write_output(Path(options.output), coco_of(images, store.audits.classes(audit_id), audit_id))
    _tell(options, audit_id, len(images), [], "images", [])
    return 0


def run_evidence(options: argparse.Namespace) -> int:
    """Write the folder."""
    from gradattn_core.report.evidence_files import INDEX, write_evidence

    check_rows(options)
    store = open_store(options, data_root=data_root(options))
    audit_id = options.audit or store.audits.latest_id()
    frame = chosen_rows(options, store, audit_id)
    if frame.empty:
        raise StoreError(_NOTHING)
    left = write_evidence(store, audit_id, frame, Path(options.output))
    _tell(options, audit_id, len(frame), left, "suspects", [f"the table is  {Path(options.output) / INDEX}"])
    return 0


def _options(form: CommandParser, metavar: str, help: str) -> None:
    form.add_argument("-o", "--output", metavar=metavar, required=True, help=help)
    out_folder(form)
    which_audit(form)
    form.add_argument("--data-root", metavar="DIR", help="where the pictures are now, if they were moved")
    output_style(form)
    row_options(form)


def _chosen(options: argparse.Namespace) -> tuple[Store, str, list[Handed]]:
    from gradattn_core.interchange.handed import handed

    check_rows(options)
    store = open_store(options, data_root=data_root(options))
    audit_id = options.audit or store.audits.latest_id()
    images = handed(store, audit_id, chosen_rows(options, store, audit_id))
    if not images:
        raise StoreError(_NOTHING)
    return store, audit_id, images


def _tell(
    options: argparse.Namespace,
    audit_id: str,
    count: int,
    left: Sequence[Left],
    what: str,
    lines: Sequence[str],
    **more: str,
) -> None:
    from gradattn_core.interchange.handed import said_left

    facts = {"audit_id": audit_id, "written": count, "left_out": left, "output": options.output, **more}
    tell(options, facts, lines)
    if not (options.json or options.quiet):
        said = [f"wrote        {count:,} {what} to {options.output}", said_left(left), f"and back     {_BACK} FILE"]
        print("\n".join(harmless(line) for line in said if line), file=sys.stderr)
