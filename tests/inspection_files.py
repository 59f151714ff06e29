"""Weight files of every family, and the scripts that open a model up: for the tests of those scripts."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import cv2
import pytest
import torch

from lib.checkpoints.files import save_dpt
from lib.demo.script import run_script
from tests import midas
from tests.conftest import REPOSITORY, small_state_dict
from tests.test_midas_loading import own_config
from tests.virtual_screen import Screen, Viewer, virtual_screen

FAMILIES = ["dinov2", *midas.FAMILIES]
SIDE = 112  # of the network's input, where it may be chosen


def family_files(folder: Path) -> Callable[[str], Path]:
    """What makes a small weight file of a family in this folder, once."""

    def build(family: str) -> Path:
        if family == "dinov2":
            path = folder / "depth_anything_v2_small.pth"
            if not path.exists():
                torch.save(small_state_dict(), path)
            return path
        path = folder / f"{family}.safetensors"
        if not path.exists():
            save_dpt(path, own_config(family), midas.small_model(family))
        return path

    return build


def run(script: ModuleType, *arguments: object) -> int:
    """The exit code of a script with these arguments, on the CPU, in this process."""
    return run_script(script.main, script.parse_args([*map(str, arguments), "-d", "cpu"]))


def is_quick(name: str) -> bool:
    """Whether experiments/NAME.py answers --help without importing what takes long."""
    code = f"import sys, experiments.{name} as s\ntry: s.parse_args(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit(bool({'torch', 'cv2', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=False).returncode == 0


class InspectionViewer(Viewer):
    """A script's window on a virtual screen; its title is not that of run_image.py."""

    title = ""

    def window(self) -> int | None:
        try:
            return int(self.screen.do("search", "--onlyvisible", "--name", f"^{self.title}$").split()[-1])
        except subprocess.CalledProcessError:
            return None


def needs_windows() -> None:
    """Skips the test where it cannot open a window and look at it."""
    if not sys.platform.startswith("linux") or "QT" not in str(cv2.currentUIFramework()):
        pytest.skip("these tests know the windows of OpenCV's Linux wheels")
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@contextmanager
def opened(script: str, title: str, folder: Path, *arguments: object) -> Iterator[InspectionViewer]:
    """A script's window, painted, on a screen of its own; it runs in `folder` and is ended with the block."""
    needs_windows()
    with virtual_screen(folder) as screen:
        viewer = painted_viewer(screen, script, title, folder, arguments)
        try:
            yield viewer
        finally:
            if viewer.process.returncode is None:
                viewer.process.kill()
                viewer.process.communicate()


def painted_viewer(screen: Screen, script: str, title: str, folder: Path, arguments: tuple) -> InspectionViewer:
    """The window once it is painted."""
    screen.do("mousemove", 1199, 999)
    command = [sys.executable, REPOSITORY / "experiments" / f"{script}.py", *arguments, "-d", "cpu"]
    environment = {**os.environ, "DISPLAY": screen.display, "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    for _ in range(5):  # see Viewer.is_painted
        process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        viewer = InspectionViewer(screen, process)
        viewer.title = title
        if viewer.is_painted():
            return viewer
        process.kill()
        print(process.communicate())
    raise AssertionError("no window was ever painted")
