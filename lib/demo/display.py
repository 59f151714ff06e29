"""Whether a window can be opened here at all, and with which fonts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2

from ..errors import UserError


def require_display() -> None:
    """Raises UserError with one sentence where no window can be opened.

    Without a display, Qt ends the whole process, which no program can catch: so look first, and let another process try.
    """
    instead = "pass -o FOLDER to write files instead"
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        raise UserError(f"this OpenCV has no windows (opencv-python has them, opencv-python-headless does not): {instead}")
    if not sys.platform.startswith("linux"):
        return
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        raise UserError(f"no window can be opened, because there is no display (DISPLAY is not set): {instead}")
    attempt = "import cv2, os; cv2.namedWindow('test'); os._exit(0)"
    try:
        probe = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise UserError(f"no window can be opened, because the display does not answer: {instead}") from None
    if probe.returncode != 0:
        reason = next(iter(probe.stderr.strip().splitlines()), "no reason given").strip()
        raise UserError(f"no window can be opened ({reason}): {instead}")


def provide_fonts() -> None:
    """Point Qt to a folder of fonts. Some OpenCV wheels name one that is not there, and then no trackbar has a label."""
    named = os.environ.get("QT_QPA_FONTDIR")  # set by `import cv2`, and only where Qt needs it
    if named is None or any(Path(named).glob("*.?tf")):
        return
    roots = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts"]
    for pattern in ("DejaVuSans.ttf", "*Sans*Regular.ttf", "*.ttf"):
        for font in (font for root in roots for font in root.rglob(pattern)):
            os.environ["QT_QPA_FONTDIR"] = str(font.parent)
            return
    print("The trackbars have no labels, because no fonts were found (on Debian: fonts-dejavu-core).", file=sys.stderr)
