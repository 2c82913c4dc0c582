"""The commands of README and documentation, word for word: all of them are understood, and all that can be are run.

A page's commands run in their order, in a copy of a folder that has what the examples name. Audits get the options of a
tiny model, as published weights would have to be downloaded.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from gradattn_core.audit.run import audit_images
from gradattn_core.cli import build_parser
from gradattn_core.store.store import Store
from tests.helpers.command_line import run_here
from tests.helpers.tiny import TINY_VIT, make_tiny, model_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
NOT_RUN = {
    "gradattn ui": "serves until it is stopped: tests/ui",
    "gradattn worker": "serves until it is stopped: tests/flows",
    "gradattn schedule": "starts a server: tests/flows/test_schedules.py",
    "gradattn demo": "tests/test_demo.py",
    "gradattn audit s3://": "another host: tests/dataset/test_storage.py",
    "gradattn audit /shared/": "a cluster: tests/flows",
    "gradattn audit JPEGS": "a GPU",
    "gradattn audit coco/": "annotated boxes: tests/dataset/test_detection.py",
}
"""What commands begin with that are only understood here, and why."""
MADE_UP = {"FILE_OR_FOLDER": "suspects.json"}
CLASSES = {"blue": "kite", "green": "bald eagle", "red": "osprey"}


def commands(page: str) -> list[str]:
    """The lines of a page's blocks that begin with ``gradattn``, without their comments, one command each."""
    found = []
    for language, block in re.findall(
        r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        if language in ("", "bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                plain = re.sub(r"(^|\s)#.*", "", line.removeprefix("$ ")).strip()
                found += [part.strip() for part in plain.split("&&") if part.strip().startswith("gradattn ")]
    return found


def words(command: str) -> list[str]:
    """Its words behind ``gradattn``, up to a redirection."""
    return shlex.split(re.split(r"\s[>|]\s", command)[0])[1:]


WITH_COMMANDS = [page for page in PAGES if commands(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_is_understood(page: str) -> None:
    parser = build_parser()
    for command in commands(page):
        parser.parse_args(words(command))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[str]]:
    """The folder, and what audits and explanations get beside their own options."""
    here = tmp_path_factory.mktemp("examples")
    tiny = make_tiny(here, per_class=80)
    work = here / "work"
    for colour, name in CLASSES.items():
        (work / "photos" / name).mkdir(parents=True)
        for number, path in enumerate(sorted((tiny.dataset / colour).iterdir())):
            Image.open(path).save(work / "photos" / name / f"{number:04d}.jpg", quality=95)
    pictures = sorted((work / "photos").rglob("*.jpg"))
    rows = [f"photos/{path.relative_to(work / 'photos').as_posix()},{path.parent.name}" for path in pictures]
    (work / "labels.csv").write_text("\n".join(["path,class", *rows]) + "\n")
    # Another program's predictions and features, rows in the order of the sorted paths.
    seen = np.array([sorted(CLASSES.values()).index(path.parent.name) for path in pictures])
    seen[::40] = (seen[::40] + 1) % len(CLASSES)  # what that program takes for something else
    noise = np.random.default_rng(0).dirichlet([1.0] * len(CLASSES), len(pictures))
    probabilities = 0.6 * np.eye(len(CLASSES))[seen] + 0.4 * noise
    for name in ("pred_probs.npy", "p.npy"):
        np.save(work / name, probabilities)
    paths = [path.relative_to(work / "photos").as_posix() for path in pictures]
    (work / "paths.txt").write_text("\n".join(paths) + "\n")
    pd.DataFrame(np.log(probabilities), index=pd.Index(paths, name="path")).rename(columns=str).to_parquet(
        work / "embeddings.parquet"
    )
    shutil.make_archive(str(work / "photos"), "zip", work / "photos")
    shutil.copy(pictures[0], work / "bird.jpg")
    shutil.copy(pictures[-1], work / "eagle.jpg")
    torch.manual_seed(0)
    wide = {**TINY_VIT, "num_classes": 1000, "pretrained_cfg_overlay": {"input_size": [3, 32, 32], "crop_pct": 1.0}}
    model = timm.create_model("vit_tiny_patch16_224", **wide)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, here / "wide.safetensors")
    audited = [*map(str, model_options(tiny)), "--head", "probe", "--quiet"]
    explained = ["--model", "vit_tiny_patch16_224", "--checkpoint", str(here / "wide.safetensors")]
    config = tiny.config(work / "gradattn-out", dataset=str(work / "photos"))
    audit = audit_images(config).audit_id
    worst = Store(work / "gradattn-out").candidates.page(audit, top=3)
    for path, suggested in zip(worst["path"], worst["suggested_label"], strict=True):
        Store(work / "gradattn-out").decisions.append(audit, path, "relabel", new_label=suggested, reviewer="ann")
    return work, audited, [*explained, "--model-arguments", json.dumps(wide)]


def _is_run(command: str) -> bool:
    return not any(command.startswith(start) for start in NOT_RUN)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page == "README.md" else [pytest.mark.slow])
        for page in WITH_COMMANDS
        if any(map(_is_run, commands(page)))
    ],
)
def test_what_a_page_shows_can_be_done(
    page: str, prepared: tuple[Path, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, audited, explained = prepared
    here = tmp_path / "here"
    shutil.copytree(work, here)
    monkeypatch.chdir(here)
    # What other programs, or a person with a spreadsheet, made of what was exported.
    edited = pd.read_csv("gradattn-out/candidates.csv", dtype=str)
    edited.loc[len(edited) - 1, "decision"] = "keep"
    edited.to_csv("candidates.csv", index=False)
    shutil.copytree("gradattn-out", "demo")
    assert run_here("export", "label-studio", "-o", "tasks.json", "--top", "3")[0] == 0
    tasks = json.loads(Path("tasks.json").read_text())
    for number, task in enumerate(tasks):
        task["annotations"] = [
            {"id": number, "result": task["predictions"][0]["result"], "completed_by": {"email": "bob"}}
        ]
    Path("project-1.json").write_text(json.dumps(tasks))
    assert run_here("export", "coco", "-o", "suspects.json")[0] == 0
    for command in filter(_is_run, commands(page)):
        given = [MADE_UP.get(word, word) for word in words(command)]
        more = {"audit": audited, "check": audited, "explain": explained}.get(given[0], [])
        if given[:3] == ["import", "decisions", "gradattn-out/candidates.csv"]:
            pd.read_csv(given[2], dtype=str).assign(decision="keep").to_csv(given[2], index=False)
        redirected = re.search(r"\s>\s(\S+)", command)
        status, text = run_here(*given, *more)
        assert status == 0, (command, text)
        if redirected:
            Path(redirected[1]).write_text(text)
        for option, value in pairwise(given):
            if option in ("-o", "--to", "--csv", "--manifest"):
                assert Path(value).exists(), command
        if "check.csv" in given and "--csv" in given:
            pd.read_csv("check.csv", dtype=str).assign(decision="keep").to_csv("check.csv", index=False)
