"""The whole way with a real audit: find the planted errors, decide, apply, audit again, and see what is new."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from gradattn_core.audit.run import audit_images
from gradattn_core.cli import main
from gradattn_core.store.store import Store
from tests.helpers.tiny import make_tiny


def as_json(*arguments: str) -> Any:
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert main([*arguments, "--json"]) == 0
    return json.loads(written.getvalue())


def test_planted_errors_are_found_corrected_and_gone_from_the_next_audit(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path)
    out = str(tmp_path / "out")
    first = audit_images(tiny.config(Path(out))).audit_id
    store = Store(out)
    for path in tiny.wrong:
        store.decisions.append(first, path, "relabel", new_label=Path(path).name.split("-")[0], reviewer="ann")

    # A tree audits as the corrected dataset.
    as_json("apply", "--to", str(tmp_path / "clean"), "--out", out)
    clean = audit_images(tiny.config(Path(out), dataset=str(tmp_path / "clean"))).audit_id
    every = store.review.corrections(clean, everything=True)
    assert len(every) == 72 and all(
        Path(path).name.startswith(label) for path, label in every[["path", "label"]].values
    )
    assert as_json("diff", first, clean, "--out", out)["counts"]["relabelled_images"] == len(tiny.wrong)

    # So does the dataset itself once it is corrected in place; its audits are compared without naming them.
    assert as_json("apply", "--in-place", "--audit", first, "--out", out)["relabelled"] == len(tiny.wrong)
    second = audit_images(tiny.config(Path(out))).audit_id
    found = as_json("diff", "--top", "100", "--out", out)
    assert (found["before"]["audit_id"], found["after"]["audit_id"]) == (first, second)
    counts = found["counts"]
    assert (counts["relabelled_images"], counts["new_images"], counts["gone_images"]) == (len(tiny.wrong), 0, 0)
    gone = {row["path"]: (row["why"], row["decision"]) for row in found["gone_suspects"]}
    assert {path: gone[path] for path in tiny.wrong} == dict.fromkeys(tiny.wrong, ("relabelled", "relabel"))
    assert found["after"]["estimated_errors"] < found["before"]["estimated_errors"]
