"""The page in headless Chromium: fits a phone and a screen, shows something, asks for nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from llmrec.report.facts import Facts
from llmrec.report.page import render_page

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; on Debian: apt-get install chromium"),
]

# A frame has the width of a phone even where the browser's window cannot be that narrow.
HARNESS = """<!doctype html>
<body style="margin:0"><iframe id="f" src="{page}" style="border:0;width:{width}px;height:900px"></iframe>
<script>onload = () => {{
  const inner = f.contentDocument, requests = f.contentWindow.performance.getEntriesByType("resource");
  const beyond = e => e.getBoundingClientRect().right > {width} + 0.5 || e.getBoundingClientRect().left < -0.5;
  const blocks = [...inner.querySelectorAll("body *")].filter(e => !e.closest(".box, svg") && beyond(e));
  const labels = [...inner.querySelectorAll("svg text")].filter(beyond).map(e => e.textContent);
  document.title = [inner.documentElement.scrollWidth, blocks.map(e => e.outerHTML), labels, requests.length].join("|");
}}</script>"""


def browse(folder: Path, *flags: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += ["--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def page(facts: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(facts), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_its_width_and_asks_for_nothing(page: Path, tmp_path: Path, width: int) -> None:
    harness = page.with_name(f"harness-{width}.html")
    harness.write_text(HARNESS.format(page=page.as_uri(), width=width), encoding="utf-8")
    dom = browse(tmp_path, "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", harness.as_uri())
    found = re.search(r"<title>(.*?)</title>", dom)
    assert found is not None
    assert found.group(1) == f"{width}|||0"  # scroll width, blocks and labels beyond it, requests


@pytest.mark.parametrize("width", [1280, 390])
def test_screenshot_is_not_blank(page: Path, tmp_path: Path, width: int) -> None:
    shot = tmp_path / "shot.png"
    browse(tmp_path, f"--window-size={width},1600", f"--screenshot={shot}", page.as_uri())
    pixels = imread(shot)[:, :, :3]
    assert pixels.shape[1] == width
    teal = (np.abs(pixels - np.array([0x0B, 0x6E, 0x80]) / 255) < 0.03).all(axis=2)
    dark = (pixels < 0.3).all(axis=2)
    assert teal.sum() > 200  # the charts
    assert 0.005 < dark.mean() < 0.3  # the text
