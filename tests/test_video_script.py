"""run_video.py into files: what it writes, what the numbers mean, and what happens when something is wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.demo import model as demo_model
from lib.demo import video_camera
from lib.demo.colour import Look, paint_depth
from lib.demo.frames import open_frames
from lib.demo.options import COLOUR_MAPS, NORMALISATIONS, VIDEO_RESULTS
from lib.demo.pictures import read_picture
from lib.demo.save import side_by_side
from lib.demo.script import interrupted_once
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth

from .conftest import REPOSITORY, make_picture, small_state_dict
from .image_script import names, write_picture
from .video_files import HEIGHT, SIDE, WIDTH, FakeCapture, command_line, number_in, numbered, run, write_video

pytest.importorskip("av")


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.mp4", [make_picture(HEIGHT, WIDTH, seed=seed) for seed in range(12)], rate=24)


@pytest.fixture(scope="session")
def metric_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("metric") / "depth_anything_v2_metric_hypersim_vits.pth"
    torch.save(small_state_dict(), path)
    return path


def predictions(weights: Path, clip: Path) -> np.ndarray:
    """T x H0 x W0, one frame at a time, as run_image.py would do it."""
    _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights)
    with open_frames(clip) as source:
        maps = [predict_depth(dpt_model, dpt_imgproc, frame.image_bgr, max_side_length=SIDE) for frame in source]
    return np.stack([depth_map.depth for depth_map in maps])


def sidecar(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def read_depth16(folder: Path) -> np.ndarray:
    with open(folder / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.stack([read_picture(folder / row["file"])[..., 0] * float(row["scale"]) + float(row["offset"]) for row in rows])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_everything_at_once(clip, small_file, tmp_path, batch_size, capsys):
    out = tmp_path / "out"
    assert run(small_file, clip, out, "--save", *VIDEO_RESULTS, "--batch_size", batch_size) == 0
    assert "12 frames done, 0 skipped" in capsys.readouterr().out
    expected = predictions(small_file, clip)
    with np.load(out / "clip_depth.npz") as stored:
        np.testing.assert_allclose(stored["depth"], expected, atol=1e-4 * expected.std())
        assert stored["depth"].dtype == np.float32
        np.testing.assert_allclose(stored["seconds"], np.arange(12) / 24, atol=1e-6)
        assert stored["index"].tolist() == list(range(12)) and stored["frame_rate"] == 24
        assert str(stored["quantity"]) == "inverse depth" and bool(stored["nearest_is_largest"])
        assert stored["value_range"].tolist() == [0, np.inf]
    codes = read_depth16(out / "clip_depth16")
    steps = (expected.max(axis=(1, 2)) - expected.min(axis=(1, 2))) / 65535
    assert (np.abs(codes - expected) <= (1.01 * steps[:, None, None] + 1e-4 * expected.std())).all()
    facts = sidecar(out / "clip.json")
    assert facts["frames"] == 12 and facts["complete"] and facts["skipped"] == 0 and facts["normalize"] == "clip"
    assert facts["network_size"] == {"height": 42, "width": SIDE} and facts["weights"] == small_file.name
    with open_frames(out / "clip_depth.mp4") as video:
        assert (video.frame_rate, video.frame_count) == (24, 12)
        shown = video.read().image_bgr
    assert shown.shape == (HEIGHT, WIDTH, 3)
    assert set(names(out)) == {
        "clip.json",
        "clip_depth.mp4",
        "clip_depth.npz",
        "clip_depth16/frames.csv",
        *(f"clip_depth16/{number:06d}.png" for number in range(12)),
    }


def test_the_video_shows_the_depth_in_one_range(clip, small_file, tmp_path):
    options = ("--normalize", "clip", "--colormap", "gray", "--side_by_side")
    assert run(small_file, clip, tmp_path / "result.mp4", *options) == 0
    expected = predictions(small_file, clip)
    ends = (np.percentile(expected, 0.5, axis=(1, 2)).min(), np.percentile(expected, 99.5, axis=(1, 2)).max())
    with open_frames(tmp_path / "result.mp4") as video, open_frames(clip) as source:
        for place, (frame, original) in enumerate(zip(video, source, strict=True)):
            colours, _ = paint_depth(expected[place], Look("gray"), nearest_is_largest=True, ends=ends)
            picture = side_by_side(original.image_bgr, colours)
            shown = frame.image_bgr[: picture.shape[0], : picture.shape[1]]
            error = np.abs(shown.astype(int) - picture)[:, WIDTH + 12 :]
            assert error.mean() < 8
            assert np.abs(shown.astype(int) - picture)[:, :WIDTH].mean() < 16  # noise, which x264 smooths
    assert {"result.mp4", "result.json"} <= names(tmp_path)


def test_metres_stay_metres(clip, metric_file, tmp_path):
    """Neither npz nor depth16 is normalised, and all frames of depth16 have one scale."""
    assert run(metric_file, clip, tmp_path, "--save", "npz", "depth16", "mp4") == 0
    expected = predictions(metric_file, clip)
    assert 0 < expected.max() < 21
    with np.load(tmp_path / "clip_depth.npz") as stored:
        np.testing.assert_allclose(stored["depth"], expected, atol=1e-4 * expected.std())
        assert str(stored["quantity"]) == "metres" and stored["value_range"].tolist() == [0, 20]
        assert not stored["nearest_is_largest"]
    with open(tmp_path / "clip_depth16" / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(float(row["scale"]), float(row["offset"])) for row in rows} == {(20 / 65535, 0.0)}
    np.testing.assert_allclose(read_depth16(tmp_path / "clip_depth16"), expected.clip(0, 20), atol=20 / 65535)
    assert sidecar(tmp_path / "clip.json")["normalize"] == "range"


def test_pictures_in_a_folder(small_file, tmp_path):
    for number in range(4):
        write_picture(tmp_path / "shot" / f"{number}.png", numbered(number))
    assert run(small_file, tmp_path / "shot", tmp_path / "out", "--frame_rate", 7) == 0
    with open_frames(tmp_path / "out" / "shot_depth.mp4") as video:
        assert (video.frame_rate, video.frame_count) == (7, 4)


def test_a_frame_too_many_is_gone_with_the_next_run(clip, small_file, tmp_path):
    assert run(small_file, clip, tmp_path, "--save", "depth16") == 0
    shorter = write_video(tmp_path / "clip.mp4", 5)
    assert run(small_file, shorter, tmp_path, "--save", "depth16") == 0
    assert len(list((tmp_path / "clip_depth16").glob("*.png"))) == 5


def test_skipped_frames_are_counted(small_file, tmp_path, capsys):
    for number in range(4):
        write_picture(tmp_path / "shot" / f"{number}.png", numbered(number))
    (tmp_path / "shot" / "2.png").write_bytes(b"broken")
    assert run(small_file, tmp_path / "shot", tmp_path / "out", "--save", "npz") == 1
    captured = capsys.readouterr()
    assert "3 frames done, 1 skipped" in captured.out and "2.png" in captured.err
    with np.load(tmp_path / "out" / "shot_depth.npz") as stored:
        assert stored["index"].tolist() == [0, 1, 3]


def test_a_camera_until_it_is_unplugged(small_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video_camera, "PATIENCE", 0.3)
    monkeypatch.setattr(video_camera, "open_capture", FakeCapture(20, interval=0.02))
    assert command_line("--use_webcam", "-o", tmp_path, "-m", small_file, "-d", "cpu", "-b", SIDE) == 1
    assert "unplugged" in capsys.readouterr().err
    with open_frames(tmp_path / "camera 0_depth.mp4") as video:
        assert len(list(video)) >= 1  # what was done is kept
    assert not sidecar(tmp_path / "camera 0.json")["complete"]
    assert sidecar(tmp_path / "camera 0.json")["normalize"] == "ema"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-i", "missing.mp4"], "missing.mp4: no such file"),
        (["-i", "empty.mp4"], "empty.mp4: the file is empty"),
        (["-i", "clip.mp4", "-m", "no/such/weights.pth"], "weights.pth"),
        (["-i", "clip.mp4", "-o", "result.avi"], "written as .mp4"),
        (["-i", "clip.mp4", "-o", "clip.mp4"], "this is the input"),
        (["-i", "clip.mp4", "-o", "mine.mp4"], "no former result"),
        (["-i", "clip.mp4", "-o", "mine.mp4/below"], "cannot be made"),
        (["-i", "clip.mp4", "--crop"], "--crop"),
        (["-i", "clip.mp4", "--use_webcam"], "two sources"),
        (["-i", "clip.mp4", "--normalize", "range"], "no range"),
        (["-i", "clip.mp4", "--save", "npz", "--side_by_side"], "--side_by_side"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, expected, small_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_video(Path("clip.mp4"), 2)
    Path("empty.mp4").touch()
    Path("mine.mp4").write_text("not a result")
    defaults = {"-m": small_file, "-o": "out", "-b": SIDE}
    more = [part for flag, value in defaults.items() if flag not in arguments for part in (flag, value)]
    assert command_line(*arguments, *more) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "frame/s" not in line and line.strip()]
    assert len(errors) == 1 and expected in errors[0] and "Traceback" not in errors[0]
    assert Path("mine.mp4").read_text() == "not a result"


def test_running_out_of_memory_suggests_a_smaller_size(clip, small_file, tmp_path, monkeypatch, capsys):
    def infer(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(demo_model.LoadedModel, "infer_with_domains", infer)
    assert run(small_file, clip, tmp_path / "out") == 1
    assert "out of memory: pass a smaller processing size with -b" in capsys.readouterr().err
    assert names(tmp_path / "out") == set()


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_ctrl_c_leaves_files_that_play(small_file, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", [numbered(number % 256) for number in range(3000)])
    out = tmp_path / "out"
    command = [sys.executable, REPOSITORY / "run_video.py", "-i", clip, "-o", out, "-m", small_file, "-d", "cpu", "-b", SIDE]
    with subprocess.Popen(
        [*map(str, command), "--save", *VIDEO_RESULTS, "--side_by_side", "--normalize", "ema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # it may be ignored where tests run
    ) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("clip_depth16/*.png"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)  # impatience does no harm
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors and "Stopped" in errors
    with open_frames(out / "clip_depth.mp4") as video:
        frames = list(video)
    assert 1 <= len(frames) < 3000
    assert [number_in(frame.image_bgr[:, :WIDTH]) for frame in frames] == [number % 256 for number in range(len(frames))]
    with np.load(out / "clip_depth.npz") as stored:
        assert abs(len(stored["depth"]) - len(frames)) <= 1 and np.isfinite(stored["depth"]).all()
    assert not sidecar(out / "clip.json")["complete"]
    assert not [name for name in names(out) if ".part" in name or ".whole" in name]


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_being_told_to_end_is_like_ctrl_c(clip, small_file, tmp_path, monkeypatch):
    def infer(self, batch):
        calls.append(len(batch))
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)
        return whole(self, batch)

    calls, whole = [], demo_model.LoadedModel.infer_with_domains
    monkeypatch.setattr(demo_model.LoadedModel, "infer_with_domains", infer)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(small_file, clip, tmp_path, "--normalize", "frame") == 130
    with open_frames(tmp_path / "clip_depth.mp4") as video:
        assert 1 <= len(list(video)) < 12
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_a_second_interruption_is_not_heard():
    finished = []
    with pytest.raises(KeyboardInterrupt), interrupted_once():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            time.sleep(0.05)
            finished.append(True)
    assert finished


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_sentence(clip, small_file, tmp_path):
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    options = ["-i", clip, "-o", tmp_path / "out", "-m", small_file, "-d", "cpu", "-b", SIDE, "--save", "npz"]
    command = [sys.executable, "-c", limited, REPOSITORY / "run_video.py", *options]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "cannot be written" in result.stderr
    assert not [name for name in names(tmp_path / "out") if ".part" in name or ".whole" in name]


def script(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """run_video.py as a process of its own, without a display."""
    variables = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": "", **environment}
    command = [sys.executable, str(REPOSITORY / "run_video.py"), *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays work otherwise there")
@pytest.mark.parametrize("display", ["", ":4711"])
def test_without_a_display_it_points_at_files(display, clip):
    result = script("-i", clip, "-m", "not/looked/for.pth", DISPLAY=display)
    assert result.returncode == 1 and "pass -o FOLDER" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and "window" in result.stderr


def test_without_pyav_it_says_how_to_install_it(clip):
    code = f"import sys; sys.modules['av'] = None; sys.argv[1:] = ['-i', {str(clip)!r}, '-o', 'x']; import runpy; "
    code += "runpy.run_path('run_video.py', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert result.returncode == 1 and "pip install av==" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    pinned = next(line for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if line.startswith("av=="))
    assert pinned in result.stderr


def test_help_is_instant():
    """It must not import anything heavy; how long that takes depends on the machine."""
    code = (
        "import sys, runpy\n"
        "sys.argv = ['run_video.py', '--help']\n"
        "try:\n    runpy.run_path('run_video.py', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "print('HEAVY', sorted({'torch', 'cv2', 'numpy', 'tqdm', 'av'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert "HEAVY []" in result.stdout, result.stdout + result.stderr
    assert all(name in result.stdout for name in (*COLOUR_MAPS, *NORMALISATIONS, *VIDEO_RESULTS, "--use_webcam", "-sync"))
