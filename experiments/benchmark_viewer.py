"""How many scenes a second the 3D viewer's server sends, and what a slow browser gets. Needs no weights.

    python experiments/benchmark_viewer.py                    # 256 x 192 points, 10 seconds each
    python experiments/benchmark_viewer.py --size 512 384 --seconds 20

A made-up video whose depth is known already goes through everything that a real one does after its depth: metres, points,
edges, colours, the message, the connection. Browsers here read and unpack what they get, and draw nothing.

    produced     scenes a second that the server makes, with no browser that holds it up
    quick        how many scenes a second a quick browser gets of a video of PLAYED_RATE frames a second
    slow         a browser that takes one message a second: how many scenes it got, how many frames old they were on
                 average when it got them, and how many messages waited for it at most
    memory       how much the server's process grew while it served (resident set, in MB)
"""

import argparse
import platform
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lib.demo.options import positive_int
from lib.demo.script import run_script
from lib.errors import UserError

NUM_FRAMES = 48  # different ones, again and again
PLAYED_RATE = 60  # shots a second that are there to be shown
SLOW_SECONDS = 1.0  # between two messages that the slow browser takes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=positive_int, nargs=2, default=(256, 192), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--seconds", type=positive_int, default=10, help="of each measurement (%(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    try:
        import viser
    except ImportError as error:
        raise UserError(f"the viewer needs the package viser ({error}): pip install -r requirements.txt") from error
    from experiments.viewer_client import BareBrowser

    width, height = args.size
    shots = make_shots(width, height)
    server = make_server(shots)
    print(f"viser {viser.__version__}, Python {platform.python_version()}, {platform.machine()}")
    try:
        with BareBrowser(server.port) as browser:
            session = only_session(server, browser)
            memory = resident_megabytes()
            made = produce(session, shots, seconds=args.seconds)
            print(f"{width} x {height} points: {made / args.seconds:.1f} scenes a second produced")
            while browser.read(0.5):  # what is left of that
                pass
            made, received, _ = play(session, browser, shots, seconds=args.seconds, pause=0.0)
            print(f"    quick browser: {received / args.seconds:.1f} of {made / args.seconds:.1f} shots a second received")
            made, received, waiting = play(session, browser, shots, seconds=args.seconds, pause=SLOW_SECONDS)
            behind = sum(browser.behind) / max(len(browser.behind), 1)
            print(
                f"    slow browser: {received} of {made} scenes, {behind:.1f} scenes behind, {waiting} messages waiting at most"
            )
            if memory is not None:
                print(f"    memory: {resident_megabytes() - memory:+.1f} MB")
    finally:
        server.stop()
    return 0


def make_shots(width: int, height: int) -> list:
    """Frames of waves that move, as shots with their depth."""
    import numpy as np

    from lib.demo.viewer_scene import Shot
    from lib.predict import DepthMap

    rows, columns = np.mgrid[0:height, 0:width] / height
    shots = []
    for number in range(NUM_FRAMES):
        phase = 2 * np.pi * number / NUM_FRAMES
        depth = (3 + np.sin(7 * rows + phase) + np.cos(5 * columns - phase)).astype(np.float32)
        image = np.stack([rows * 80, columns * 80 + 90, depth * 40], axis=-1).clip(0, 255).astype(np.uint8)
        shots.append(Shot(image, DepthMap(depth, "inverse depth", True, (0.0, 9.0)), (1.0, 5.0), f"frame {number}"))
    return shots


def make_server(shots: list):
    """A viewer of a video that gives no frame of its own: the session shows what it is handed."""
    from types import SimpleNamespace

    from lib.demo.frames import FrameSource
    from lib.demo.viewer_controls import SourceFacts
    from lib.demo.viewer_inputs import DepthService
    from lib.demo.viewer_scene import POINTS, Settings
    from lib.demo.viewer_server import ViewerServer
    from lib.demo.viewer_session import Source
    from lib.image_processor import PictureRule

    class NoFrames(FrameSource):
        def _next(self) -> None:
            return None

    output = SimpleNamespace(quantity="inverse depth", nearest_is_largest=True, value_range=(0.0, 9.0))
    model = SimpleNamespace(
        dpt_model=SimpleNamespace(output=output), dpt_imgproc=SimpleNamespace(rule=PictureRule(side=518, multiple=14))
    )
    source = Source(SourceFacts(is_video=True, frame_count=len(shots)), open_frames=lambda: NoFrames("none", frame_rate=1.0))
    settings = Settings(shape=POINTS, focal=300.0, edge=0.5)
    return ViewerServer(DepthService(model), source, settings, host="localhost", port=18280, title="benchmark")


def only_session(server, browser):
    """The session of the only browser, once it is there."""
    browser.behind = []
    browser.wait(lambda: server.sessions and "Near" in browser.names, "the page")
    (session,) = server.sessions.values()
    return session


def produce(session, shots: list, *, seconds: float) -> int:
    """Make scenes as quickly as possible, for a browser that is not waited for; returns how many."""
    made, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        made += 1
        session.paint(with_number(shots[made % len(shots)], made), True)
    return made


def play(session, browser, shots: list, *, seconds: float, pause: float) -> tuple[int, int, int]:
    """Hand shots to the session as a video's player does, sixty a second, while the browser reads.

    pause: how long the browser rests after every message. Returns how many shots there were, how many scenes the browser
    got, and the most messages that waited for it.
    """
    made, stop = 0, threading.Event()
    browser.scenes, browser.behind = 0, []
    buffer = session.client._websock_connection.get_message_buffer()

    def read() -> None:
        while not stop.is_set():
            if browser.read(0.1) and pause:
                if "/cloud" in browser.nodes:
                    browser.behind.append(made - number_in(browser.nodes["/cloud"]["colors"]))
                time.sleep(pause)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    waiting, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        made += 1
        session.show(with_number(shots[made % len(shots)], made), True, "")
        waiting = max(waiting, len(buffer.message_from_id))
        time.sleep(1 / PLAYED_RATE)
    stop.set()
    reader.join()
    return made, browser.scenes, waiting


def with_number(shot, number: int):
    """The shot with a number in the colour of its first pixel."""
    from dataclasses import replace

    image_bgr = shot.image_bgr.copy()
    image_bgr[0, 0] = number >> 16 & 255, number >> 8 & 255, number & 255
    return replace(shot, image_bgr=image_bgr)


def number_in(colours) -> int:
    """The number in the colour of the first point (red first)."""
    return int(colours[0]) | int(colours[1]) << 8 | int(colours[2]) << 16


def resident_megabytes() -> float | None:
    """Memory of this process, where the system tells it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    import resource

    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
