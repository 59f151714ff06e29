"""A small model of every family, as the scripts in experiments/ load it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import lib.demo.model
from lib.demo.model import LoadedModel
from lib.demo.script import run_script
from lib.image_processor import DPTImageProcessor, PictureRule
from lib.make_dpt import make_dpt_from_state_dict
from tests import midas
from tests.conftest import REPOSITORY, make_picture
from tests.image_script import write_picture
from tests.virtual_screen import ATTEMPTS, PATIENCE, Screen, Viewer

FAMILIES = [*midas.FAMILIES, "dinov2"]


def loaded_model(family: str, small_file: Path) -> LoadedModel:
    """small_file: weights of the DINOv2 family (the fixture)."""
    if family == "dinov2":
        _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(small_file)
        return LoadedModel(dpt_model, dpt_imgproc, family, "small.pth", 112, False)
    rule = PictureRule(side=128, multiple=32, fit="fixed" if family == "levit" else "lower_bound")
    return LoadedModel(midas.small_model(family), DPTImageProcessor(rule), family, "small.pth", None, False)


@pytest.fixture(params=FAMILIES)
def family_model(request, small_file, monkeypatch) -> LoadedModel:
    """One small model of each family; scripts that load a model get it, whatever their options say."""
    model = loaded_model(request.param, small_file)
    monkeypatch.setattr(lib.demo.model, "load_model", lambda args: model)
    return model


@pytest.fixture
def two_pictures(tmp_path) -> list[np.ndarray]:
    """Two pictures that were written to tmp_path/in, a.png and sub/b.png, and a file there that is none: c.png."""
    pictures = [make_picture(90, 120, seed=1), make_picture(120, 90, seed=2)]
    for name, picture in zip(("a.png", "sub/b.png"), pictures, strict=True):
        write_picture(tmp_path / "in" / name, picture)
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    return pictures


def run_main(script, *arguments: object) -> int:
    """The exit code of an experiment's script with these arguments, in this process."""
    return run_script(script.main, script.parse_args([str(argument) for argument in arguments]))


def assert_help_is_light(script_path: Path) -> None:
    """--help must not wait for heavy imports."""
    code = (
        f"import sys, runpy; sys.argv = [{str(script_path)!r}, '--help']\n"
        f"try: runpy.run_path({str(script_path)!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class ScriptViewer(Viewer):
    """An experiment's script with its window on a virtual screen."""

    def __init__(self, screen: Screen, process: subprocess.Popen, title: str):
        super().__init__(screen, process)
        self.title = title

    def window(self) -> int | None:
        try:
            return int(self.screen.do("search", "--onlyvisible", "--name", f"^{self.title}$").split()[-1])
        except subprocess.CalledProcessError:
            return None

    def size(self) -> tuple[int, int]:
        """Width and height of the window, trackbars included, which are below the canvas."""
        answer = self.screen.do("getwindowgeometry", "--shell", self.window())
        geometry = dict(line.split("=") for line in answer.splitlines())
        return int(geometry["WIDTH"]), int(geometry["HEIGHT"])

    def save(self, json_file: Path) -> dict:
        """Presses s until this file is there; its contents."""
        deadline = time.monotonic() + PATIENCE
        while not json_file.exists() and time.monotonic() < deadline:
            self.key("s")  # nothing is saved until there is a result
            time.sleep(0.3)
        return json.loads(json_file.read_text())


@contextmanager
def opened(screen: Screen, script: str, title: str, folder: Path, *options: object) -> Iterator[ScriptViewer]:
    """experiments/SCRIPT with these options in a window; it runs in `folder`, where it saves."""
    screen.do("mousemove", 1199, 999)
    command = [sys.executable, REPOSITORY / "experiments" / script, "-d", "cpu", "-s", 900, *options]
    environment = {**os.environ, "DISPLAY": screen.display, "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    for _ in range(ATTEMPTS):
        process = subprocess.Popen(
            list(map(str, command)), env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        viewer = ScriptViewer(screen, process, title)
        try:
            if viewer.is_painted():
                yield viewer
                return
        finally:
            if process.poll() is None:
                process.kill()
            print(process.communicate())
    raise AssertionError("no window was ever painted")
