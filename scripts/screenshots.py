"""Makes the pictures of the documentation from the demo audit: `make screenshots`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PORT = 8599
PAGES = {"overview": "", "review": "review"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="output folder of gradattn demo")
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "gradattn_core", "demo", "--out", str(options.demo), "--quiet"], check=True)
    options.images.mkdir(parents=True, exist_ok=True)
    picture = Image.open(options.demo / "suspects.png").convert("RGB")
    picture.thumbnail((1400, 1400))
    picture.save(options.images / "demo.png", optimize=True)
    command = [sys.executable, "-m", "gradattn_core", "ui", "--out", str(options.demo), "--port", str(PORT)]
    server = subprocess.Popen(command, env={**os.environ, "GRADATTN_REVIEWER": "Ada"})
    try:
        _wait()
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
                for name, place in PAGES.items():
                    _shoot(page, place, options.images / f"{name}-{scheme}.png")
            browser.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    return 0


def _shoot(page: Page, place: str, target: Path) -> None:
    page.goto(f"http://localhost:{PORT}/{place}")
    page.wait_for_selector("h1, h2, h3", timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)
    page.screenshot(path=target)


def _wait() -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://localhost:{PORT}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the page did not start")


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("chromium is needed for the screenshots")
    return found


if __name__ == "__main__":
    sys.exit(main())
