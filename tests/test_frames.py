"""Frames of videos, picture sequences and cameras: all of them, upright, at their times; and what happens with damage."""

import time
import wave
from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.demo import frames as demo_frames
from lib.demo.frames import is_video, open_frames
from lib.demo.video_camera import CameraFrames
from lib.demo.video_file import apply_display_matrix
from lib.demo.video_normalise import clip_ends
from lib.demo.video_writer import VideoWriter
from lib.errors import UserError

from .conftest import make_picture
from .image_script import write_picture
from .video_files import HEIGHT, WIDTH, FakeCapture, number_in, numbered, numbers, write_video

pytest.importorskip("av")

ONE = 1 << 16  # 1.0 in a display matrix, whose third column is 1 << 30


def test_every_frame_in_order_with_its_time(tmp_path):
    with open_frames(write_video(tmp_path / "clip.mp4", 20)) as source:
        assert (source.name, source.frame_rate, source.frame_count, source.is_live) == ("clip", 10, 20, False)
        frames = list(source)
        assert source.read() is None
    assert numbers(frames) == list(range(20)) == [frame.index for frame in frames]
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 10, atol=1e-6)
    error = np.abs(frames[7].image_bgr.astype(int) - numbered(7))[HEIGHT // 2 + 4 :, 4:40]
    assert frames[7].image_bgr.dtype == np.uint8 and error.mean() < 5  # the colours, too


@pytest.mark.parametrize(
    ("name", "codec"), [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.avi", "mpeg4"), ("clip.h264", "libx264")]
)
def test_seeking_finds_the_very_frame(tmp_path, name, codec):
    options = {"crf": "12", "g": "120", "bf": "3"} if codec == "libx264" else {"g": "30", "q": "2"}
    with open_frames(write_video(tmp_path / name, 200, codec=codec, rate=25, options=options)) as source:
        for index in (150, 3, 4, 199, 0, 70, 71, 60, 199):
            source.seek(index)
            frame = source.read()
            assert (frame.index, number_in(frame.image_bgr)) == (index, index)
        assert source.read() is None
        source.seek(0)  # also after the end
        assert numbers([source.read(), source.read()]) == [0, 1]


def test_frames_of_unequal_length_keep_their_times(tmp_path):
    seconds = [0.0, 0.04, 0.2, 0.24, 0.9, 1.0, 1.01, 2.5]
    with open_frames(write_video(tmp_path / "clip.mp4", 8, seconds=seconds)) as source:
        frames = list(source)
    np.testing.assert_allclose([frame.seconds for frame in frames], seconds, atol=1e-3)
    assert numbers(frames) == list(range(8))


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3), (0, 0)])
def test_phone_videos_are_upright(tmp_path, rotation, turns):
    """FFmpeg's rotation is counter-clockwise, as numpy's turns are. OpenCV's reader turns pictures too, in its own way."""
    path = write_video(tmp_path / "phone.mp4", [numbered(5)] * 3, rotation=rotation)
    with open_frames(path) as source:
        shown = source.read().image_bgr
    expected = np.rot90(numbered(5), turns)
    _, opencv = cv2.VideoCapture(str(path)).read()
    for other in (expected, opencv):
        assert shown.shape == other.shape and np.abs(shown.astype(int) - other).mean() < 8


def test_mirrored_videos(tmp_path):
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    mirror = np.array([[-ONE, 0, 0], [0, ONE, 0], [0, 0, 1 << 30]])
    assert np.array_equal(apply_display_matrix(picture, mirror), picture[:, ::-1])
    mirror = np.array([[ONE, 0, 0], [0, -ONE, 0], [0, 0, 1 << 30]])
    assert np.array_equal(apply_display_matrix(picture, mirror), picture[::-1])


def test_wide_pixels_become_square(tmp_path):
    with open_frames(write_video(tmp_path / "dvd.mp4", 3, pixel_aspect=Fraction(4, 3))) as source:
        frame = source.read()
    assert frame.image_bgr.shape == (HEIGHT, WIDTH * 4 // 3, 3)


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "mpeg4"), ("clip.mp4", "libx264"), ("clip.ts", "libx264")])
def test_damage_is_counted_and_passed_over(tmp_path, name, codec):
    path = write_video(tmp_path / name, [make_picture(96, 128, seed=seed) for seed in range(40)], codec=codec)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    middle = slice(len(data) * 4 // 10, len(data) * 5 // 10)
    data[middle] = rng.integers(0, 256, middle.stop - middle.start, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    with open_frames(path) as source:
        frames = list(source)
        assert source.skipped >= 1
    assert 10 <= len(frames) < 40
    assert frames[-1].seconds > 3.5  # it went on behind the damage
    assert all(frame.image_bgr.shape == (96, 128, 3) for frame in frames)
    assert all(later.seconds > earlier.seconds for earlier, later in zip(frames, frames[1:], strict=False))


def test_half_a_file_gives_the_frames_that_are_there(tmp_path):
    path = write_video(tmp_path / "clip.mkv", [make_picture(96, 128, seed=seed) for seed in range(20)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_frames(path) as source:
        assert 3 < len(list(source)) < 20


def test_looking_all_over_a_file_that_ends_too_early(tmp_path):
    """Its index comes first and speaks of frames that are not there."""
    with VideoWriter(tmp_path / "clip.mp4", frame_rate=10) as video:
        for seed in range(200):
            video.write(make_picture(96, 128, seed=seed))
    whole = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "clip.mp4").write_bytes(whole[: len(whole) // 4])
    with open_frames(tmp_path / "clip.mp4") as source:
        assert source.frame_count == 200
        found = []
        clip_ends(
            source,
            lambda images: (found.append(image.shape) or (0.0, 1.0) for image in images),
            nearest_is_largest=True,
            report=lambda *_: None,
        )
        assert len(found) >= 8 and len(list(source)) < 60
        source.seek(190)
        assert source.read() is None
        source.seek(195)  # neither here, and no error
        assert source.read() is None
        source.seek(3)
        assert source.read().index == 3


def test_what_is_no_video_is_said_in_one_sentence(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video")
    (tmp_path / "notes.txt").write_text("this neither")
    (tmp_path / "nothing").mkdir()
    cut = write_video(tmp_path / "cut.mp4", 10)
    cut.write_bytes(cut.read_bytes()[:300])  # the index is at the end
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    (tmp_path / "sound.wav").rename(tmp_path / "sound.mp4")
    for name, expected in {
        "empty.mp4": "the file is empty",
        "text.mp4": "damaged",
        "cut.mp4": "damaged",
        "sound.mp4": "no moving pictures",
        "missing.mp4": "no such file",
        "*.missing": "no such file",
        "nothing": "no pictures there",
    }.items():
        with pytest.raises(UserError, match=expected) as caught:
            open_frames(tmp_path / name)
        assert str(caught.value).count(name) == 1 and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="notes.txt: damaged"):
        open_frames(tmp_path / "notes.txt").read()


def test_a_video_without_a_whole_frame(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 10)
    data = path.read_bytes()
    media, index = data.index(b"mdat") + 4, data.index(b"moov")
    path.write_bytes(data[:media] + bytes(index - media) + data[index:])
    with open_frames(path) as source, pytest.raises(UserError, match="clip: not one frame of it can be decoded"):
        source.read()


def test_the_sample_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_frames, "SAMPLE_VIDEO", tmp_path / "sample.mp4")
    with pytest.raises(UserError, match="no video given"):
        open_frames(None)
    write_video(tmp_path / "sample.mp4", 3)
    with open_frames(None) as source:
        assert len(list(source)) == 3


def test_pictures_are_a_video(tmp_path, capsys):
    folder = tmp_path / "shot 1"
    for number in (10, 9, 1):
        write_picture(folder / f"frame{number}.png", numbered(number))
    (folder / "frame5.png").write_bytes(b"broken")
    write_picture(folder / "shot 1_depth16" / "000001.png", numbered(99))  # a former result, or anything else below
    with open_frames(folder) as source:
        assert (source.name, source.frame_rate, source.frame_count) == ("shot 1", 25, 4)
        frames = list(source)
        assert source.skipped == 1 and "frame5.png" in capsys.readouterr().err
        source.seek(0)
        assert source.skipped == 0 and len(list(source)) == 3 and source.skipped == 1  # counted anew, not twice
        assert capsys.readouterr().err == ""  # and not reported twice
        source.seek(3)
        assert number_in(source.read().image_bgr) == 10
    assert numbers(frames) == [1, 9, 10]
    assert [frame.index for frame in frames] == [0, 2, 3] and frames[1].seconds == 2 / 25
    for several in (folder / "*1*.png", [folder / "frame10.png", folder / "frame1.png"]):
        with open_frames(several, picture_rate=5) as source:
            assert numbers(source) == [1, 10] and source.frame_rate == 5
    with open_frames(folder / "frame9.png") as source:
        assert numbers(source) == [9] and source.name == "frame9"


def test_pictures_of_other_sizes_are_fitted_in(tmp_path):
    write_picture(tmp_path / "1.png", make_picture(40, 80))
    write_picture(tmp_path / "2.png", np.full((40, 20), 200, np.uint16) * 257)  # grey, 16 bits, portrait
    with open_frames(tmp_path) as source:
        first, second = list(source)
    assert first.image_bgr.shape == second.image_bgr.shape == (40, 80, 3)
    assert second.image_bgr.dtype == np.uint8
    assert (second.image_bgr[:, 30:50] == 200).all() and not second.image_bgr[:, :30].any()


def test_a_region(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 2)
    with open_frames(path) as whole, open_frames(path, crop=(10, 20, 30, 40)) as part:
        assert np.array_equal(part.read().image_bgr, whole.read().image_bgr[20:60, 10:40])
    with open_frames(path, crop=(500, 0, 9, 9)) as source, pytest.raises(UserError, match="outside"):
        source.read()


def test_what_counts_as_a_video(tmp_path):
    write_video(tmp_path / "clip.mp4", 2)
    (tmp_path / "clip.mp4").rename(tmp_path / "without suffix")
    write_picture(tmp_path / "photo.jpg")
    (tmp_path / "empty.MOV").touch()
    (tmp_path / "notes.txt").write_text("text")
    for count in (1, 3):
        images = [Image.fromarray(numbered(number)[..., ::-1]) for number in range(count)]
        images[0].save(tmp_path / f"{count} pictures.gif", save_all=True, append_images=images[1:], duration=100)
    found = {path.name for path in tmp_path.iterdir() if is_video(path)}
    assert found == {"without suffix", "empty.MOV", "3 pictures.gif"}
    assert not is_video(tmp_path / "missing.mp4") and not is_video(tmp_path)
    with open_frames(tmp_path / "3 pictures.gif") as source:
        assert numbers(source) == [0, 1, 2]


def test_two_videos_are_one_too_many(tmp_path):
    paths = [write_video(tmp_path / name, 2) for name in ("a.mp4", "b.mp4")]
    for several in (paths, tmp_path / "*.mp4"):
        with pytest.raises(UserError, match="one"):
            open_frames(several)


def test_a_camera_gives_its_newest_picture():
    capture = FakeCapture(10_000)
    with CameraFrames(0, open_capture=capture) as source:
        assert source.is_live and source.frame_rate == 25 and source.frame_count is None
        first = source.read()
        time.sleep(0.2)  # the camera goes on meanwhile
        second = source.read()
        assert (number_in(second.image_bgr) - number_in(first.image_bgr)) % 256 > 3
        assert (first.index, second.index) == (0, 1) and second.seconds > first.seconds == 0
        third = source.read()
        assert number_in(third.image_bgr) != number_in(second.image_bgr)  # never the same twice
        with pytest.raises(UserError, match="live"):
            source.seek(0)
    assert capture.released


@pytest.mark.parametrize("then", ["fails", "hangs", "raises"])
def test_an_unplugged_camera_ends_in_a_sentence(then):
    with CameraFrames(3, open_capture=FakeCapture(5, then=then), patience=0.3) as source:
        with pytest.raises(UserError, match="camera 3 (gives no more pictures; was it unplugged|failed)"):
            for _ in range(100):
                source.read()


def test_a_camera_that_is_not_there(monkeypatch):
    with pytest.raises(UserError, match="camera 7 cannot be opened"):
        CameraFrames(7, open_capture=FakeCapture(0, opens=False))
    monkeypatch.setattr("lib.demo.video_camera.START_PATIENCE", 0.2)
    with pytest.raises(UserError, match="does not answer"):
        CameraFrames(7, open_capture=lambda number: time.sleep(5))
