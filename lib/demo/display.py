"""Whether a window can be opened here at all, and with which fonts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2

from ..errors import UserError

ESCAPE = "\x1b"


def require_display() -> None:
    """Raises UserError with one sentence where no window can be opened.

    Without a display, Qt ends the whole process, and no program can catch that: so look first, and let another process
    try.
    """
    instead = "pass -o FOLDER to write files instead"
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        raise UserError(f"this OpenCV has no windows (opencv-python has, opencv-python-headless has not): {instead}")
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
    """Point Qt to a folder of fonts: some OpenCV wheels name one that is not there, and trackbars lose their labels."""
    named = os.environ.get("QT_QPA_FONTDIR")  # set by `import cv2`, and only where Qt needs it
    if named is None or any(Path(named).glob("*.?tf")):
        return
    roots = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts"]
    for pattern in ("DejaVuSans.ttf", "*Sans*Regular.ttf", "*.ttf"):
        for font in (font for root in roots for font in root.rglob(pattern)):
            os.environ["QT_QPA_FONTDIR"] = str(font.parent)
            return
    print("The trackbars have no labels: no fonts were found (Debian: apt install fonts-dejavu-core).", file=sys.stderr)


def is_open(window: str) -> bool:
    """Whether the window of this name is still there; its close button may have been pressed."""
    try:
        return cv2.getWindowProperty(window, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # Qt ends itself with its last window, and then complains
        return False


def read_key(wait_ms: int) -> str:
    """The key pressed within this time, as a lower-case letter or control character; "" for none or a special key."""
    code = cv2.waitKeyEx(wait_ms)
    # Eight bits, as waitKey keeps, would make capital letters of arrow keys; above sixteen are Num Lock and the like.
    return chr(code & 0xFFFF).lower() if code >= 0 and code & 0xFFFF < 128 else ""
