"""The built wheel, installed in an environment of its own: everything the command needs is in it."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_an_installed_wheel_runs_the_demo_from_any_folder(tmp_path: Path) -> None:
    options: list[str | Path] = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], check=True)
    (wheel,) = tmp_path.glob("gradattn-*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    into: list[str | Path] = ["--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", *into], check=True)
    # The dependencies are the running environment's; a path file does not carry over what is installed editable there.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    places = "import flows.audit, gradattn_core, ui.launch; print(flows.__file__, gradattn_core.__file__, ui.__file__)"
    found = subprocess.run([str(python), "-c", places], cwd=elsewhere, capture_output=True, text=True, check=True)
    assert all(Path(place).is_relative_to(packages) for place in found.stdout.split())
    command: list[str | Path] = [environment / "bin" / "gradattn", "demo", "--json"]
    result = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["average_precision"] > 0.85
    assert sorted(path.name for path in elsewhere.iterdir()) == ["demo"]
    for name in ("style.css", ".streamlit/config.toml", "client/mount.js", "client/tokens.css"):
        assert (packages / "ui" / name).is_file()
