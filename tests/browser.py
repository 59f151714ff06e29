"""Chromium for the 3D viewer's tests; a browser that draws nothing is in experiments/viewer_client.py."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from experiments.viewer_client import PATIENCE

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Renders WebGL without a graphics card; the sandbox cannot start for root, as in a container.
CHROMIUM_OPTIONS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox", "--disable-dev-shm-usage")


def require_chromium() -> str:
    """Where Chromium is; skips the test where it, or the package that drives it, is missing."""
    pytest.importorskip("playwright", reason="the package playwright is missing: pip install -r tests/requirements.txt")
    for name in CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("there is no Chromium here (Debian: apt install chromium)")


@contextmanager
def chromium() -> Iterator[object]:
    """A headless browser that can render WebGL."""
    path = require_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_OPTIONS], timeout=1000 * PATIENCE)
        try:
            yield browser
        finally:
            browser.close()
