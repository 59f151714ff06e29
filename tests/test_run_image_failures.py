"""run_image.py where something is wrong: one sentence, the right exit code, and nothing half written."""

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

from lib.demo import model as demo_model
from lib.demo.options import COLOUR_MAPS, RESULT_FILES

from .conftest import REPOSITORY, make_picture
from .image_script import SIZE, command_line, names, run, write_picture


def script(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """run_image.py as a process of its own, without a display."""
    variables = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": "", **environment}
    command = [sys.executable, str(REPOSITORY / "run_image.py"), *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)


def test_unreadable_pictures_are_reported_and_skipped(small_file, tmp_path, capsys):
    photos = tmp_path / "photos"
    good = write_picture(photos / "b_good.png").read_bytes()
    (photos / "a_empty.jpg").write_bytes(b"")
    (photos / "c_text.png").write_text("not a picture")
    (photos / "d_cut.png").write_bytes(good[: len(good) // 2])
    (photos / "e_floats.tiff").write_bytes(cv2.imencode(".tiff", 9 * np.ones((5, 5), np.float32))[1].tobytes())
    write_picture(photos / "f_good.png")
    assert run(small_file, photos, tmp_path / "out", "--save", "npy", "--batch_size", 4) == 1
    captured = capsys.readouterr()
    for name in ("a_empty.jpg", "c_text.png", "d_cut.png", "e_floats.tiff"):
        assert sum(name in line and "Skipped" in line for line in captured.err.splitlines()) == 1
    assert "2 done, 4 skipped" in captured.out and "Traceback" not in captured.err
    assert {name for name in names(tmp_path / "out") if name.endswith(".npy")} == {
        "b_good_depth.npy",
        "f_good_depth.npy",
    }


def test_a_picture_too_elongated_is_skipped(monkeypatch, small_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "strip.png", make_picture(1, 3000))
    options = ["-m", small_file, "-o", tmp_path / "out"]
    assert command_line("-i", picture, *options) == 1
    assert "strip.png" in (error := capsys.readouterr().err) and "-b" in error
    assert command_line("-i", picture, *options, "-b", SIZE) == 0


def test_running_out_of_memory_suggests_a_smaller_size(small_file, tmp_path, monkeypatch, capsys):
    def predict(self, images_bgr, max_side_length=None):
        if images_bgr[0].shape[0] == 60:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return whole(self, images_bgr, max_side_length)

    whole = demo_model.LoadedModel.predict
    monkeypatch.setattr(demo_model.LoadedModel, "predict", predict)
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "in" / "b.png", make_picture(50, 50))
    assert run(small_file, tmp_path / "in", tmp_path / "out", "--save", "npy") == 1
    assert "a.png: out of memory: pass a smaller processing size with -b" in capsys.readouterr().err
    assert "b_depth.npy" in names(tmp_path / "out")


def test_errors_of_ours_are_not_hidden(small_file, tmp_path, monkeypatch):
    def predict(self, images_bgr, max_side_length=None):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(demo_model.LoadedModel, "predict", predict)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run(small_file, write_picture(tmp_path / "a.png"), tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-i", "missing.png"], "missing.png: no such file"),
        (["-i", "*.missing"], "no file matches"),
        (["-i", "empty"], "no pictures there"),
        (["-i", "a.png", "-m", "no/such/weights.pth"], "weights.pth"),
        (["-i", "a.png", "-d", "warp"], "-d warp: no such device"),
        (["-i", "a.png", "-d", "cuda:99"], "-d cuda:99"),
        (["-i", "a.png", "--model_type", "zebra"], "zebra"),
        (["-i", "a.png", "-o", "a.png"], "is a file; expected a folder"),
        (["-i", "a.png", "-o", "a.png/below"], "cannot be made"),
        (["-i", "a.png", "--crop"], "--crop"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, expected, small_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    defaults = {"-m": small_file, "-o": "out"}
    more = [part for flag, value in defaults.items() if flag not in arguments for part in (flag, value)]
    assert command_line(*arguments, *more) == 1
    error = capsys.readouterr().err.strip()
    assert expected in error and len(error.splitlines()) == 1 and "Traceback" not in error


@pytest.mark.parametrize("option", [["-b", "0"], ["-s", "big"], ["--save", "gif"], ["--colormap", "pink-ish"]])
def test_bad_values_of_options(option, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line("-i", "a.png", *option)
    assert stop.value.code == 2 and option[0] in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(small_file, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    assert run(small_file, write_picture(tmp_path / "a.png"), out) == 1
    assert str(out) in capsys.readouterr().err and names(out) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_no_partial_file(small_file, tmp_path):
    picture = write_picture(tmp_path / "a.png", make_picture(200, 200))
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    options = ["-i", picture, "-o", tmp_path / "out", "-m", small_file, "-d", "cpu", "-b", SIZE]
    command = [sys.executable, "-c", limited, REPOSITORY / "run_image.py", *options]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "a_depth.npy: cannot be written" in result.stderr
    assert names(tmp_path / "out") == {"a.json"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_ctrl_c_ends_quietly_and_keeps_what_is_finished(small_file, tmp_path):
    for number in range(200):
        write_picture(tmp_path / "in" / f"{number}.png")
    out = tmp_path / "out"
    command = [sys.executable, REPOSITORY / "run_image.py", "-i", tmp_path / "in", "-o", out, "-m", small_file]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored where tests run
    ) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("*_colour.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    finished = names(out)
    assert 0 < len(finished) < 4 * 200 and not any(name.endswith(".part") for name in finished)
    for name in finished:
        if name.endswith(".npy"):
            assert np.load(out / name).shape == (60, 80)


def test_help_is_instant():
    """It must not import anything heavy; how long that takes depends on the machine."""
    code = (
        "import sys, runpy\n"
        "sys.argv = ['run_image.py', '--help']\n"
        "try:\n    runpy.run_path('run_image.py', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "print('HEAVY', sorted({'torch', 'cv2', 'numpy', 'tqdm'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert "HEAVY []" in result.stdout, result.stdout + result.stderr
    for flag in ("--image_path", "--crop", "--batch_size", "--save", "--colormap", "--model_type", "-nc", "-f32", "-z"):
        assert flag in result.stdout
    assert all(name in result.stdout for name in (*COLOUR_MAPS, *RESULT_FILES))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays work otherwise there")
@pytest.mark.parametrize("display", ["", ":4711"])
def test_without_a_display_it_points_at_files(display, tmp_path):
    picture = write_picture(tmp_path / "a.png")
    result = script("-i", picture, "-m", "not/looked/for.pth", DISPLAY=display)
    assert result.returncode == 1 and "-o FOLDER" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and "window" in result.stderr
