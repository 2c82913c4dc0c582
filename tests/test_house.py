"""How the house stands: what is light, what may know whom, and what is offered at the door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

import gradattn_core
from tests.helpers.tiny import make_tiny

ROOT = Path(__file__).resolve().parents[1]
GROUND = (
    *("belief", "config", "elements", "errors", "estimates", "files", "face", "kinds"),
    *("methods", "neighbourhood", "outfolder", "progress", "reasons", "records", "sums", "verdict", "wording"),
)
HEAVY = {
    *("duckdb", "faiss", "matplotlib", "openTSNE", "pandas", "prefect", "pyarrow"),
    *("scipy", "sklearn", "streamlit", "timm", "torch"),
}
# From the ground up; a room may import from its own floor and from those below.
FLOORS = (
    {"dataset.address", "dataset.secrets", "dataset.text", "evidence"},
    {"attention", "dataset", "demo"},
    {"model", "ranking", "render"},
    {"interpret", "store"},
    {"csv_tables", "embedding", "evaluate", "export", "facts", "health", "learning", "peers", "rerank"},
    {"apply", "audit", "interchange", "report"},
    {"ui"},
    {"flows"},
    {"cli", "notebook"},
)


def modules() -> dict[str, Path]:
    files = [file for room in ("gradattn_core", "flows", "ui") for file in (ROOT / room).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports_of(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of this project that a file imports when it is imported itself, and those it imports later."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floor_of(module: str) -> int:
    top, _, rest = module.partition(".")
    name = rest if top == "gradattn_core" else top
    if name == "__main__":
        return len(FLOORS)
    if not name or name in GROUND:
        return 0
    rooms = (name, name.partition(".")[0])
    return next(floor for room in rooms for floor, names in enumerate(FLOORS) if room in names)


def loaded(statement: str) -> tuple[float, set[str]]:
    """Processor time in seconds of a fresh interpreter that runs a statement, and the heavy packages it loads."""
    code = (
        f"import sys, time; begun = time.process_time(); {statement}; print(time.process_time() - begun, *sys.modules)"
    )
    seconds, *modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return float(seconds), HEAVY.intersection(modules)


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_is_light(name: str) -> None:
    seconds, heavy = loaded(f"import gradattn_core.{name}")
    assert not heavy and seconds < 0.3


def test_the_gpu_tests_of_maps_need_no_browser_database_or_server() -> None:
    """A machine that is lent for its GPU has torch, timm and pytest; on it they died at collection."""
    absent = ("playwright", "duckdb", "faiss", "prefect", "streamlit", "pyarrow", "pandas", "sklearn")
    names = (
        "interpret/test_families",
        "interpret/test_transfer",
        "interpret/test_rewrite",
        "model/test_half",
        "model/test_transit",
    )
    files = [f"tests/{name}.py" for name in names]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import pytest; sys.exit(pytest.main({files} + "
    code += "['-q', '--collect-only', '-m', 'gpu', '-p', 'no:cacheprovider']))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 0, told.stdout[-2000:]
    assert "test_a_gpu_gives_the_map_of_the_cpu" in told.stdout and "test_a_gpu_is_never_waited_for" in told.stdout


def test_the_help_of_the_command_line_is_light() -> None:
    seconds, heavy = loaded("from gradattn_core.cli import build_parser; build_parser()")
    assert not heavy and seconds < 0.3


def test_an_audit_begins_without_what_its_first_batch_does_not_need() -> None:
    """A third of the processor time until then; whoever wants torch's compiler afterwards gets all of it."""
    code = (
        "import sys; from gradattn_core.cli.audit import import_timm; import_timm(); import gradattn_core.audit.run; "
    )
    code += "late = {'torch._dynamo', 'torch._dynamo.utils', 'sympy', 'sklearn', 'scipy.optimize', 'prefect'}; "
    code += "assert not late & sys.modules.keys(), late & sys.modules.keys(); "
    code += "import torch; from torchvision.ops.roi_align import is_compile_supported; "
    code += (
        "assert is_compile_supported('cpu') is True; import torch._dynamo; from torch._dynamo.utils import counters; "
    )
    code += "assert torch.compiler.disable(len)([1]) == 1 and torch.compiler.disable.__module__ == 'torch.compiler'"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]


def test_a_summary_needs_no_model_and_no_science() -> None:
    """It is to be there within a second, most of which pandas and the database take already."""
    _, heavy = loaded("import gradattn_core.health, gradattn_core.cli.summary")
    assert heavy <= {"numpy", "pandas", "duckdb", "pyarrow"}


@pytest.mark.parametrize("room", sorted(name for name, file in modules().items() if file.name == "__init__.py"))
def test_a_package_imports_nothing_heavy(room: str) -> None:
    assert not loaded(f"import {room}")[1]


@pytest.mark.parametrize("module", ["flows.schedules", "flows.status", "flows.worker"])
def test_schedules_are_kept_and_served_without_what_audits_need(module: str) -> None:
    assert loaded(f"import {module}")[1].isdisjoint({"duckdb", "sklearn", "timm", "torch"})


def test_nothing_imports_upward() -> None:
    known = modules()
    upward = [
        f"{name} -> {other}"
        for name, file in known.items()
        if file.name != "__init__.py"
        for other in imports_of(file, known)
        if other in known and floor_of(other) > floor_of(name)
    ]
    assert upward == []


def test_no_files_import_each_other_in_a_circle() -> None:
    known = modules()
    arrows = {
        name: {other for other in imports_of(file, known) if other in known} - {name} for name, file in known.items()
    }
    # A package's face names its modules only for who asks.
    arrows = {name: others for name, others in arrows.items() if known[name].name != "__init__.py"}
    while arrows:
        free = [name for name, others in arrows.items() if not others & arrows.keys()]
        assert free, f"in a circle: {sorted(arrows)}"
        for name in free:
            del arrows[name]


def test_a_file_name_stands_twice_only_on_purpose() -> None:
    _, _, section = (ROOT / "docs/architecture.md").read_text("utf-8").partition("## Names that stand twice on purpose")
    listed = set(re.findall(r"^\| `(\w+\.py)` \|", section, flags=re.MULTILINE))
    names = Counter(file.name for file in modules().values() if file.name != "__init__.py")
    assert {name for name, count in names.items() if count > 1} == listed
    assert len(listed) <= 12


def test_a_dict_of_anything_is_the_exception() -> None:
    assert sum(file.read_text("utf-8").count("dict[str, Any]") for file in modules().values()) <= 25


@pytest.mark.parametrize(
    "first",
    ["gradattn_core", "gradattn_core.audit", "gradattn_core.interpret.maps", "gradattn_core.ranking", "flows.audit"],
)
def test_what_is_offered_is_there_in_any_order_of_imports(first: str) -> None:
    names = sorted(gradattn_core.__all__)
    check = f"import {first}, gradattn_core; from gradattn_core import {', '.join(names)}; print(audit_images.__name__)"
    said = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "audit_images\n"), said.stderr
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "gradattn_core").iterdir()}
    assert rooms.isdisjoint(names)


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    make_tiny(tmp_path, per_class=5, wrong_per_class=1).dataset.rename(tmp_path / "photos")
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert Image.open(tmp_path / "why.png").width > 200
