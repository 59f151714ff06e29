"""A model without weights and a video without a file for the 3D viewer's tests, and servers that show them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.viewer_client import PATIENCE, BareBrowser
from lib.demo.frames import Frame, FrameSource
from lib.demo.pictures import find_pictures
from lib.demo.viewer_controls import SourceFacts
from lib.demo.viewer_inputs import DepthService, names_of
from lib.demo.viewer_scene import POINTS, Settings, Shot, limits_of
from lib.demo.viewer_server import ViewerServer
from lib.demo.viewer_session import Source
from lib.dpt_model import OutputKind
from lib.errors import UserError
from lib.image_processor import PictureRule
from lib.predict import DepthMap

from .conftest import make_picture
from .image_script import write_picture

FIRST_PORT = 18080
AS_POINTS = Settings(shape=POINTS, edge=1.0)
INVERSE = OutputKind("inverse depth", True, (0.0, float("inf")))
METRIC = OutputKind("metres", False, (0.0, 20.0))


@dataclass
class StubNetwork:
    """What is asked of a DPTModel."""

    output: OutputKind


@dataclass
class StubProcessor:
    """What is asked of an image processor."""

    rule: PictureRule = field(default_factory=lambda: PictureRule(side=518, multiple=14))


@dataclass
class StubModel:
    """Stands for a LoadedModel: depth of a slanted floor with a box in front of it. Counts its predictions.

    seconds: how long one takes.
    """

    output: OutputKind = INVERSE
    seconds: float = 0.0
    count: int = 0
    sides: list = field(default_factory=list)
    name: str = "stub"

    @property
    def dpt_model(self) -> StubNetwork:
        return StubNetwork(self.output)

    @property
    def dpt_imgproc(self) -> StubProcessor:
        return StubProcessor()

    def network_size(self, height: int, width: int, max_side_length: int | None = None) -> tuple[int, int]:
        side = max_side_length or 518
        return side, side

    def predict(self, images_bgr: list[np.ndarray], max_side_length: int | None = None) -> list[DepthMap]:
        time.sleep(self.seconds)
        self.count += 1
        self.sides.append(max_side_length)
        return [depth_of(image, self.output) for image in images_bgr]


def depth_of(image_bgr: np.ndarray, output: OutputKind = INVERSE) -> DepthMap:
    """A floor that rises into the distance, and a near box in the middle of it."""
    height, width = image_bgr.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    inverse = 1 + 3 * rows + np.where((abs(rows - 0.5) < 0.2) & (abs(columns - 0.5) < 0.2), 4, 0)
    depth = inverse if output.nearest_is_largest else 8 / inverse
    return DepthMap(depth.astype(np.float32), output.quantity, output.nearest_is_largest, output.value_range)


def shot_of(height: int = 60, width: int = 80, output: OutputKind = INVERSE) -> Shot:
    """A shot of the stub's depth of a made-up picture."""
    image_bgr = make_picture(height, width)
    depth_map = depth_of(image_bgr, output)
    return Shot(image_bgr, depth_map, limits_of(depth_map))


class FakeFrames(FrameSource):
    """A video whose frame number i is a picture of grey i. Counts how many are open."""

    open_now = 0

    def __init__(self, count: int = 30, *, rate: float = 25.0, fails_at: int | None = None, is_live: bool = False):
        super().__init__("clip", frame_rate=rate, frame_count=None if is_live else count)
        self.count, self.place, self.fails_at, self.is_live, self.is_open = count, 0, fails_at, is_live, True
        FakeFrames.open_now += 1

    def _next(self) -> Frame | None:
        if self.place == self.fails_at:
            raise UserError("the camera was unplugged")
        if self.place >= self.count:
            return None
        if self.is_live:
            time.sleep(0.01)
        self.place += 1
        image = make_picture(48, 64) // 4 + np.uint8(self.place % 100)
        return Frame(image, self.place - 1, (self.place - 1) / self.frame_rate)

    def seek(self, index: int) -> None:
        self.place = index

    def close(self) -> None:
        FakeFrames.open_now -= self.is_open
        self.is_open = False


@contextmanager
def viewer_servers(folder: Path) -> Iterator[Callable[..., ViewerServer]]:
    """A function that starts a server and returns it; all of them are stopped at the end. folder: for pictures."""
    servers = []

    def start(
        *,
        source: Source | None = None,
        model: StubModel | None = None,
        settings: Settings = AS_POINTS,
        pictures: int = 1,
    ) -> ViewerServer:
        if source is None:
            for number in range(pictures):
                write_picture(folder / "in" / f"{number}.png", make_picture(30, 40, seed=number))
            files = tuple(find_pictures([str(folder / "in")]))
            source = Source(SourceFacts(names=tuple(names_of(files))), files)
        service = DepthService(model or StubModel())
        servers.append(ViewerServer(service, source, settings, host="localhost", port=FIRST_PORT, title="test"))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.stop()
    wait_for(lambda: FakeFrames.open_now == 0, "videos being closed")


def video_source(**options) -> Source:
    facts = SourceFacts(is_video=True, frame_count=options.get("count", 30))
    return Source(facts, open_frames=lambda: FakeFrames(**options))


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.01)


def first_scene(browser: BareBrowser) -> None:
    browser.wait(lambda: browser.scenes and "pixels" in browser.text(), "the first scene")


def depths(browser: BareBrowser) -> np.ndarray:
    """Distances of all points."""
    return -browser.nodes["/cloud"]["points"].astype(np.float32).reshape(-1, 3)[:, 2]
