"""The window of run_video.py: its clock, what it shows when depth is slow, and, on a virtual screen, its keys and bars."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lib.demo import drawing
from lib.demo.colour import Look, paint_depth
from lib.demo.frames import open_frames
from lib.demo.video_clock import MOST_BEHIND, Clock, Meter
from lib.demo.video_live import LiveDepth
from lib.demo.video_normalise import frame_ends
from lib.demo.video_player import HELP, VideoPlayer
from lib.demo.video_view import VideoView
from lib.demo.window import STATUS_HEIGHT
from lib.errors import UserError
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth

from .conftest import REPOSITORY
from .video_files import (
    HEIGHT,
    METRES,
    RELATIVE,
    SIDE,
    WIDTH,
    FakeCapture,
    MadeUpFrames,
    StubModel,
    number_in,
    write_video,
)
from .virtual_screen import PATIENCE, Viewer, viewers

pytest.importorskip("av")

DISPLAY_SIZE = 900
PANEL_W, PANEL_H, _ = drawing.fit_panels(HEIGHT, WIDTH, (DISPLAY_SIZE, round(0.6 * DISPLAY_SIZE)))
CANVAS_H = PANEL_H + drawing.LEGEND_HEIGHT + STATUS_HEIGHT
FRAMES, TRACKBARS = 120, 4


class FakeTime:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_clock_runs_at_any_speed_and_waits_for_slow_frames():
    now = FakeTime()
    clock = Clock(now)
    assert not clock.is_due(0.0)  # until a first frame is shown
    clock.show(0.0, runs=True)
    now.seconds = 1.0
    assert clock.is_due(1.0) and not clock.is_due(1.01)
    clock.show(0.98, runs=True)  # a little late: the clock goes on
    assert clock.position() == pytest.approx(1.0)
    clock.set_speed(2.0)
    now.seconds = 2.0
    assert clock.position() == pytest.approx(3.0)
    clock.show(3.0 - 2 * MOST_BEHIND - 0.1, runs=True)  # much too late: the clock goes back
    assert clock.position() == pytest.approx(2.9 - 2 * MOST_BEHIND)
    clock.show(7.0, runs=False)
    now.seconds = 9.0
    assert clock.position() == 7.0 and not clock.is_due(7.0)


def test_the_meter_shows_the_time_between_frames():
    now = FakeTime()
    meter = Meter(now)
    assert meter.seconds() is None
    for now.seconds in (0.0, 0.1, 0.3):
        meter.count()
    assert meter.seconds() == pytest.approx(0.15)


def make_player(source, model, **options) -> VideoPlayer:
    """A player without a window; `drive` runs it."""
    player = VideoPlayer(source, model, reopen=lambda: source, display_size=DISPLAY_SIZE, colour_map="inferno", **options)
    player.has_seek_bar = False
    return player


def drive(player: VideoPlayer, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
    """What `VideoPlayer.run` does, without a window, for a while or until the end of the video."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as player.worker:
        player.start_reading()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not player.at_end:
            player.advance()
            player.collect()
            watch()
            time.sleep(0.001)
        player.reader.close()


def test_depth_never_lags_behind_by_more_than_one_frame():
    """Slow depth: pictures go on meanwhile, and what is computed next is what is shown then. Nothing waits in a line."""
    model, history = StubModel(seconds=0.15), []
    player = make_player(MadeUpFrames(40), model, loop=False)

    def watch():
        if player.depth is not None and (not history or history[-1][0] is not player.depth.frame):
            history.append((player.depth.frame, player.frame.index))

    drive(player, 20, watch)
    assert player.at_end and player.frame.index == 39
    assert 3 <= len(model.batches) < 20
    indices = [frame.index for frame, _ in history]
    assert indices == sorted(set(indices)) and max(np.diff(indices)) > 1  # frames between were passed over


def test_waiting_for_depth_shows_every_frame_with_its_own():
    model, shown, source = StubModel(seconds=0.01), [], MadeUpFrames(25)
    source.frame_rate = 1000.0  # all are due almost at once
    player = make_player(source, model, loop=False, wait_for_depth=True)

    def watch():
        if player.depth is not None and (not shown or shown[-1] is not player.depth.frame):
            assert player.depth.frame is player.frame  # it waits here until its depth is there
            shown.append(player.frame)

    drive(player, 20, watch)
    assert [frame.index for frame in shown] == list(range(25)) and player.dropped == 0
    assert 0.01 <= player.depth.seconds < 1


def test_a_failing_network_does_not_stop_the_pictures(monkeypatch):
    player = make_player(MadeUpFrames(10), StubModel(), loop=False)

    def predict(frame):
        raise UserError("too large for the network")

    monkeypatch.setattr(player.live, "predict", predict)
    drive(player, 20)
    assert player.frame.index == 9 and player.depth is None
    monkeypatch.setattr(player.live, "predict", lambda frame: 1 / 0)
    player = make_player(MadeUpFrames(10), StubModel(), loop=False)
    monkeypatch.setattr(player.live, "predict", lambda frame: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # errors of ours are not hidden
        drive(player, 20)


def test_a_single_frame_is_shown_once():
    model = StubModel()
    player = make_player(MadeUpFrames(1), model)
    drive(player, 20)
    assert player.at_end and player.frame.index == 0 and len(model.batches) <= 1


def test_modes_of_the_window():
    live = LiveDepth(StubModel(RELATIVE), is_live=False)
    assert live.check(None) == "ema" and live.mode_after("frame") == "clip"  # no range
    live.measure_clip(lambda: MadeUpFrames(80, brightness=lambda index: 10 * (index % 20)), None)
    depth = live.predict(MadeUpFrames(1).read())
    assert live.ends(depth, "clip") == live.clip != depth.ends["frame"]
    live = LiveDepth(StubModel(METRES), is_live=True)
    assert live.check(None) == "range" and live.mode_after("range") == "ema"  # and no clip
    with pytest.raises(UserError, match="camera"):
        live.check("clip")
    assert live.predict(MadeUpFrames(1).read()).ends["range"] == (20.0, 0.0)


def test_the_canvas_is_drawn_only_when_something_changed():
    view, frame = VideoView(DISPLAY_SIZE, HELP), MadeUpFrames(1).read()
    state = {"look": Look(), "ends": None, "lines": ["a", "b", "c"], "show_help": False}
    first = view.draw(frame, None, **state)
    assert first is not None and view.draw(frame, None, **state) is None
    assert view.draw(frame, None, **{**state, "lines": ["x", "b", "c"]}) is not None
    depth = LiveDepth(StubModel(), is_live=False).predict(frame)
    second = view.draw(frame, depth, **{**state, "ends": (0.0, 1.0)})
    assert not np.array_equal(first, second) and view.draw(frame, depth, **{**state, "ends": (0.0, 1.0)}) is None
    assert view.draw(frame, depth, **{**state, "ends": (0.0, 2.0)}) is not None


# On a virtual screen.


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.mp4", FRAMES, rate=20)


@pytest.fixture
def view(screen, small_file, tmp_path) -> Iterator[Callable[..., Viewer]]:
    common = ["-m", small_file, "-d", "cpu", "-b", SIDE, "-s", DISPLAY_SIZE]
    with viewers(screen, REPOSITORY / "run_video.py", common, tmp_path) as start:
        yield start


def number_seen(shot: np.ndarray) -> int:
    """The number that the picture on the screen shows."""
    return number_in(drawing.resize(shot[:PANEL_H, :PANEL_W], WIDTH, HEIGHT))


def shows_text(text: str, line: int, width: int = 300) -> Callable[[np.ndarray], bool]:
    strip = np.full((21, width, 3), drawing.BACKGROUND, np.uint8)
    drawing.draw_text(strip, text, (drawing.MARGIN, 15))
    top = CANVAS_H - STATUS_HEIGHT + 14 + 21 * line - 15
    return lambda shot: np.array_equal(shot[top : top + 21, :width], strip)


def shows_depth(weights: Path, clip: Path, number: int, look: Look) -> Callable[[np.ndarray], bool]:
    """Whether the right panel has the depth of this frame, painted by its own range."""
    _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights)
    with open_frames(clip) as source:
        source.seek(number)
        depth = predict_depth(dpt_model, dpt_imgproc, source.read().image_bgr, max_side_length=SIDE).depth
    values = drawing.resize(depth, PANEL_W, PANEL_H)
    ends = frame_ends(depth, nearest_is_largest=True)
    expected, _ = paint_depth(values, look, nearest_is_largest=True, ends=ends)
    left = PANEL_W + drawing.GAP
    return lambda shot: np.abs(shot[:PANEL_H, left : left + PANEL_W].astype(int) - expected).mean() < 6


def settled(viewer: Viewer, seconds: float = 0.7) -> int:
    """The number on the screen, as soon as it has not changed for a while."""
    number, since = None, time.monotonic()
    give_up = since + PATIENCE
    while time.monotonic() < min(since + seconds, give_up):
        seen = number_seen(viewer.screen.shot())
        if seen != number:
            number, since = seen, time.monotonic()
        time.sleep(0.02)
    assert time.monotonic() < give_up, "it never rests"
    return number


def test_a_visit(view, clip, small_file, tmp_path):
    viewer = view("-i", clip, "--normalize", "frame", "--allow_recording")
    viewer.wait(lambda shot: 3 < number_seen(shot) < FRAMES, "the video plays")
    viewer.key("v")  # record all that follows
    viewer.key("space")
    viewer.wait(shows_text("paused", 2), "the word paused")
    number = settled(viewer)
    look = Look()
    viewer.wait(shows_depth(small_file, clip, number, look), "the depth of the frame")
    for key, look in (("c", Look("spectral")), ("r", Look("spectral", reverse=True)), ("e", Look("spectral", True, True))):
        viewer.key(key)
        viewer.wait(shows_depth(small_file, clip, number, look), f"the colours after {key}")

    viewer.key("n")
    viewer.wait(lambda shot: number_seen(shot) == number + 1, "the next frame")
    viewer.key("p")
    viewer.wait(lambda shot: number_seen(shot) == number, "the frame before")
    viewer.wait(shows_depth(small_file, clip, number, look), "its depth")
    assert settled(viewer) == number

    viewer.key("s")
    stem = f"clip_{number:06d}"
    viewer.wait(shows_text(f"saved as results/{stem}*", 2), "the name of the result")
    facts = json.loads((tmp_path / "results" / f"{stem}.json").read_text())
    assert facts["frame"] == number and facts["network_size"]["width"] == SIDE
    assert np.load(tmp_path / "results" / f"{stem}_depth.npy").shape == (HEIGHT, WIDTH)

    # Bars: 0 the seek bar, 1 near, 2 far, 3 speed.
    answer = viewer.screen.do("getwindowgeometry", "--shell", viewer.window())
    geometry = dict(line.split("=") for line in answer.splitlines())
    bar_height = (int(geometry["HEIGHT"]) - CANVAS_H) // TRACKBARS

    def turn_wheel(bar: int, button: int) -> None:
        y = CANVAS_H + bar_height * bar + bar_height // 2
        viewer.screen.do("mousemove", PANEL_W, y, "sleep", "0.2", "click", "--repeat", 5, button)

    turn_wheel(0, 4)
    viewer.wait(lambda shot: number_seen(shot) > number + 3, "a later frame, by the seek bar")
    number = settled(viewer)
    viewer.wait(shows_depth(small_file, clip, number, look), "its depth")
    before = viewer.screen.shot()[:PANEL_H, PANEL_W:].astype(int)
    turn_wheel(2, 4)
    viewer.wait(lambda shot: np.abs(shot[:PANEL_H, PANEL_W:] - before).mean() > 1, "more contrast")
    viewer.key("h")
    viewer.wait(lambda shot: shot[30:300, 60:300].mean() < 60, "the help")
    viewer.key("h")

    # On to the end; from there again from the beginning, or not.
    viewer.key("f", "space")
    viewer.wait(lambda shot: number_seen(shot) < 20, "the beginning again")
    viewer.key("l", "f")
    viewer.wait(shows_text("the end", 2), "the end")
    assert number_seen(viewer.screen.shot()) == FRAMES - 1
    viewer.key("space")
    viewer.wait(lambda shot: number_seen(shot) < FRAMES - 1, "playing again")
    viewer.key("v", "q")
    code, output, errors = viewer.end()
    assert code == 0 and "Traceback" not in errors and "recorded results/clip_recording.mp4" in output
    with open_frames(tmp_path / "results" / "clip_recording.mp4") as recording:
        shots = list(recording)
    assert len(shots) > 10 and shots[-1].image_bgr.shape == (CANVAS_H + CANVAS_H % 2, 2 * PANEL_W + drawing.GAP, 3)
    assert number_seen(shots[0].image_bgr) < FRAMES  # it can be read in the recording, too


def test_a_region_and_ctrl_c_while_recording(view, clip, tmp_path):
    viewer = view("-i", clip, "--crop", "--allow_recording", "-sync")
    scale = min(DISPLAY_SIZE / WIDTH, 0.6 * DISPLAY_SIZE / HEIGHT)
    width, height = round(scale * WIDTH), round(scale * HEIGHT)
    viewer.wait(lambda shot: number_in(drawing.resize(shot[:height, :width], WIDTH, HEIGHT)) == 0, "the first frame")
    viewer.screen.drag((round(70 * scale), round(50 * scale)), (round(10 * scale), round(5 * scale)))
    viewer.key("Return")
    viewer.key("v")
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("results/*_colour.png")) and time.monotonic() < deadline:
        viewer.key("s")  # nothing is saved until the depth is there
    facts = json.loads(next(tmp_path.glob("results/*.json")).read_text())
    assert np.abs(np.subtract(facts["region"], [10, 5, 60, 45])).max() <= 1
    viewer.process.send_signal(signal.SIGINT)
    code, _, errors = viewer.end()
    assert code == 130 and "Traceback" not in errors
    with open_frames(tmp_path / "results" / "clip_recording.mp4") as recording:
        assert len(list(recording)) >= 2


def test_a_camera_that_is_pulled_out(screen, small_file, tmp_path):
    script = tmp_path / "with_camera.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from lib.demo import video_camera\n"
        "from tests.video_files import FakeCapture, command_line\n"
        "video_camera.PATIENCE = 1.0\n"
        "video_camera.open_capture = FakeCapture(150, interval=0.02)\n"
        "sys.exit(command_line(*sys.argv[1:]))\n"
    )
    assert FakeCapture(1)(0).isOpened()
    common = ["-m", small_file, "-d", "cpu", "-b", SIDE, "-s", DISPLAY_SIZE]
    with viewers(screen, script, common, tmp_path) as start:
        viewer = start("--use_webcam")
        viewer.wait(lambda shot: number_seen(shot) > 10, "pictures of the camera")
        code, _, errors = viewer.end()
    assert code == 1 and "camera 0 gives no more pictures; was it unplugged?" in errors and "Traceback" not in errors
