"""Videos and cameras in the 3D viewer, and browsers that cannot keep up with them."""

import time

import numpy as np

from experiments.viewer_client import BareBrowser
from lib.demo.viewer_controls import SourceFacts
from lib.demo.viewer_live import SharedSource
from lib.demo.viewer_pace import ON_THE_WAY
from lib.demo.viewer_scene import Shot
from lib.demo.viewer_session import Source

from .conftest import make_picture
from .viewer_stub import FakeFrames, StubModel, depth_of, video_source, wait_for


def test_a_slow_browser_gets_the_newest_scene_and_no_queue(serve):
    server = serve(source=video_source(count=30))
    with BareBrowser(server.port) as browser:
        browser.wait(lambda: browser.scenes and "frame 0" in browser.text(), "the first scene")
        while browser.read(0.5):
            pass
        (session,) = server.sessions.values()
        buffer = session.client._websock_connection.get_message_buffer()
        image_bgr, count, waiting, before = make_picture(192, 256), 100, 0, session.updates
        depth_map = depth_of(image_bgr)
        shots = [Shot(np.roll(image_bgr, number, axis=1), depth_map, (1.0, 7.1)) for number in range(count)]
        browser.scenes = 0
        for shot in shots:  # nobody reads
            session.show(shot, True, "")
            waiting = max(waiting, len(buffer.message_from_id))
            time.sleep(0.01)
        assert session.updates - before <= ON_THE_WAY + 1  # the others were never made
        newest = shots[-1].image_bgr[0, 0, ::-1]
        browser.wait(lambda: (browser.nodes["/cloud"]["colors"][:3] == newest).all(), "the newest scene")
        assert waiting < 20 and browser.scenes <= ON_THE_WAY + 2


def test_a_browser_that_never_answers_is_not_waited_for_forever(monkeypatch):
    from lib.demo import viewer_pace

    class Silent:
        class local_storage:
            @staticmethod
            def get_item(key: str, timeout: float) -> None:
                time.sleep(timeout)
                raise TimeoutError

    monkeypatch.setattr(viewer_pace, "LONGEST_WAIT", 0.2)
    pace = viewer_pace.Pace(Silent())
    for _ in range(5):
        pace.wait()
        pace.sent()
    assert len(pace.answers) <= ON_THE_WAY + 1
    pace.close()


def test_a_video_plays_and_pauses_and_seeks(serve):
    server = serve(source=video_source(count=40, rate=50.0))
    with BareBrowser(server.port) as browser:
        browser.wait(lambda: browser.scenes and "frame 0" in browser.text(), "the first frame")
        browser.click("Play")
        browser.wait(lambda: browser.value("Frame") > 5, "later frames")
        browser.wait(lambda: browser.nodes["/cloud"]["precision"] == "float16", "lighter points")
        browser.click("Play")
        (session,) = server.sessions.values()
        wait_for(lambda: not session.player.playing, "a pause")
        while browser.read(0.3):
            pass
        here = browser.value("Frame")
        assert not browser.read(0.5)
        browser.set("Frame", 33)
        browser.wait(lambda: "frame 33" in browser.text(), "another place")
        assert browser.value("Frame") in (33, here)  # the bar is where the person left it
        browser.move_to("Shape", "textured mesh", "a relief of the frame")
        assert browser.reliefs()


def test_every_frame_is_shown_when_asked_and_the_end_is_the_end(serve):
    model = StubModel(seconds=0.02)
    server = serve(source=video_source(count=12, rate=500.0), model=model)
    with BareBrowser(server.port) as browser:
        browser.wait(lambda: browser.scenes, "the first frame")
        browser.set("Repeat", False)
        browser.set("Every frame", True)
        (session,) = server.sessions.values()
        shown = []
        moved = session.player.moved
        session.player.moved = lambda index: (shown.append(index), moved(index))
        wait_for(lambda: session.controls.value("Every frame") and not session.controls.value("Repeat"), "the choice")
        browser.click("Play")
        wait_for(lambda: session.player.playing, "playing")
        start = time.monotonic()
        wait_for(lambda: not session.player.playing, "the end")
        assert time.monotonic() - start > 10 * 0.02  # as long as the depth of each takes
        assert shown == list(range(1, 12)) and model.count == 12


def test_a_slow_model_keeps_to_the_clock_and_a_video_begins_again(serve):
    model = StubModel(seconds=0.1)
    server = serve(source=video_source(count=60, rate=60.0), model=model)
    with BareBrowser(server.port) as browser:
        browser.wait(lambda: browser.scenes, "the first frame")
        (session,) = server.sessions.values()
        shown = []
        moved = session.player.moved
        session.player.moved = lambda index: (shown.append(index), moved(index))
        browser.click("Play")
        wait_for(lambda: len(shown) > 4 and min(shown[3:]) < max(shown), "a second round")
        steps = np.diff([index for index in shown if index])[:2]
        assert steps.max() > 1  # frames in between were left out


def test_a_source_that_fails_says_so_and_stays(serve):
    server = serve(source=video_source(count=30, rate=200.0, fails_at=8))
    with BareBrowser(server.port) as browser:
        browser.wait(lambda: browser.scenes, "the first frame")
        browser.set("Every frame", True)
        browser.click("Play")
        browser.wait(lambda: "the camera was unplugged" in browser.text(), "what happened")
        browser.set("Frame", 3)
        browser.wait(lambda: "frame 3" in browser.text(), "a frame that can be read")


def test_one_camera_serves_all_browsers_and_closes_after_the_last(serve):
    shared = SharedSource(lambda: FakeFrames(10**6, is_live=True))
    server = serve(source=Source(SourceFacts(is_video=True, is_live=True), open_frames=shared.open))
    with BareBrowser(server.port) as one:
        one.wait(lambda: one.scenes > 2, "live pictures")
        with BareBrowser(server.port) as other:
            other.wait(lambda: other.scenes > 2, "live pictures")
            assert FakeFrames.open_now == 1
            assert not {"Frame", "Repeat"} & set(other.names)
        before = one.scenes
        one.wait(lambda: one.scenes > before + 2, "more pictures")
    wait_for(lambda: FakeFrames.open_now == 0, "the camera being closed")
