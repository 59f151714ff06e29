"""Written videos: what browsers and phones need, right colours and times, and nothing lost when a run ends early."""

import os
import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from lib.demo.frames import open_frames
from lib.demo.video_writer import LARGEST_SIDE, Recorder, VideoWriter
from lib.errors import UserError

from .conftest import REPOSITORY
from .video_files import HEIGHT, WIDTH, numbered, numbers

av = pytest.importorskip("av")


def write(path, count=12, **options):
    with VideoWriter(path, **{"frame_rate": 10, **options}) as video:
        for number in range(count):
            video.write(numbered(number))
    return path


def test_it_is_what_browsers_and_phones_play(tmp_path):
    path = write(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 10 and stream.frames == 12
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)  # said, not guessed
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # the index first
    assert b"moof" not in data  # one piece
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_frames_come_back(tmp_path):
    with open_frames(write(tmp_path / "a.mp4", 30)) as source:
        frames = list(source)
    assert numbers(frames) == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 10, atol=1e-4)


@pytest.mark.parametrize("colour", [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (0, 255, 255)])
def test_colours_come_back(tmp_path, colour):
    with VideoWriter(tmp_path / "a.mp4", frame_rate=10) as video:
        video.write(np.full((HEIGHT, WIDTH, 3), colour, np.uint8))
    with open_frames(tmp_path / "a.mp4") as source:
        assert np.abs(source.read().image_bgr.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("rate", [24, 30, 25.0, 29.97, 30000 / 1001, 23.976, 12.5, 60, 7])
def test_the_frame_rate_is_kept(tmp_path, rate):
    with open_frames(write(tmp_path / "a.mp4", 40, frame_rate=rate)) as source:
        assert source.frame_rate == pytest.approx(rate, rel=2e-4)
        assert [frame.seconds for frame in source][-1] == pytest.approx(39 / rate, abs=1e-3)


def test_times_that_are_given_are_kept(tmp_path):
    seconds = [0.0, 0.01, 0.5, 0.5, 2.0]  # the same twice: one tick later
    with VideoWriter(tmp_path / "a.mp4", frame_rate=10) as video:
        for number, moment in enumerate(seconds):
            video.write(numbered(number), seconds=moment)
    with open_frames(tmp_path / "a.mp4") as source:
        np.testing.assert_allclose([frame.seconds for frame in source], seconds, atol=1e-4)


@pytest.mark.parametrize("hw", [(63, 95), (64, 95), (1, 1), (2, 300), (5, 3)])
def test_odd_and_tiny_sizes(tmp_path, hw):
    picture = np.full((*hw, 3), (40, 160, 90), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", frame_rate=10) as video:
        for _ in range(3):
            video.write(picture)
    with open_frames(tmp_path / "a.mp4") as source:
        shown = source.read().image_bgr
    assert shown.shape == (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2, 3)
    assert np.abs(shown.astype(int) - (40, 160, 90)).max() <= 4  # the added row and column too


def test_another_size_is_fitted_in(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", frame_rate=10, size_wh=(60, 40)) as video:
        video.write(np.full((80, 60, 3), 200, np.uint8))
    with open_frames(tmp_path / "a.mp4") as source:
        shown = source.read().image_bgr
    assert shown.shape == (40, 60, 3) and shown[20, 30].min() > 190 and shown[20, 2].max() < 20


def test_very_wide_videos_are_scaled_down(tmp_path, capsys):
    with VideoWriter(tmp_path / "a.mp4", frame_rate=10) as video:
        video.write(np.zeros((40, 2 * LARGEST_SIDE, 3), np.uint8))
    with open_frames(tmp_path / "a.mp4") as source:
        assert source.read().image_bgr.shape == (20, LARGEST_SIDE, 3)
    assert "scaled down" in capsys.readouterr().out


def test_an_error_leaves_the_frames_done(tmp_path):
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", frame_rate=10) as video:
            for number in range(7):
                video.write(numbered(number))
            raise error
        with open_frames(tmp_path / "a.mp4") as source:
            assert numbers(source) == list(range(7))
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_even_a_killed_process_leaves_something_to_play(tmp_path):
    code = (
        "import os, sys; from lib.demo.video_writer import VideoWriter; from tests.video_files import numbered\n"
        "video = VideoWriter(sys.argv[1], frame_rate=10)\n"
        "for number in range(200): video.write(numbered(number))\n"
        "os._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mp4")], cwd=REPOSITORY, check=False, timeout=120)
    (part,) = tmp_path.iterdir()
    assert part.name.endswith(".part.mp4")
    with open_frames(part) as source:
        found = numbers(source)
    assert len(found) >= 20 and found == list(range(len(found)))


def test_no_frames_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", frame_rate=10):
        pass
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"a\.mp4: cannot be written"):
        write(tmp_path / "file" / "a.mp4")
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(UserError, match=r"a\.mp4: cannot be written"):
        write(tmp_path / "a.mp4")
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "file"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_keeps_the_frames_that_fit(tmp_path):
    code = (
        "import resource, sys; from lib.demo.video_writer import VideoWriter; from tests.conftest import make_picture\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "with VideoWriter(sys.argv[1], frame_rate=10) as video:\n"
        "    for number in range(120): video.write(make_picture(96, 128, seed=number))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.mp4")]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, timeout=120, capture_output=True, text=True)
    assert "UserError" in done.stderr and "a.mp4: cannot be written" in done.stderr
    assert os.listdir(tmp_path) == ["a.mp4"]
    with open_frames(tmp_path / "a.mp4") as source:
        assert 20 <= len(list(source)) < 120


def test_opencv_reads_it_too(tmp_path):
    capture = cv2.VideoCapture(str(write(tmp_path / "a.mp4", 9)))
    found = []
    while (image := capture.read())[0]:
        found.append(image[1])
    assert len(found) == 9 and capture.get(cv2.CAP_PROP_FPS) == 10
    assert np.abs(found[3].astype(int) - numbered(3)).mean() < 8


def test_recording_keeps_real_time(tmp_path):
    now = 100.0
    recorder = Recorder(tmp_path / "a.mp4", now=lambda: now)
    for number, moment in ((0, 100.0), (1, 100.001), (2, 100.5), (3, 101.0)):
        now = moment
        recorder.add(numbered(number))
    now = 103.0  # the last picture stays
    recorder.close()
    with open_frames(tmp_path / "a.mp4") as source:
        frames = list(source)
    assert numbers(frames) == [0, 2, 3, 3]
    np.testing.assert_allclose([frame.seconds for frame in frames], [0, 0.5, 1, 3], atol=1e-3)
    assert Fraction(frames[-1].seconds).limit_denominator(10) == 3
