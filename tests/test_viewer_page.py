"""The 3D viewer's page in Chromium: what is seen, and that the controls change it. Skipped where there is no Chromium."""

import io
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from experiments.procedural_scenes import render_scenes
from experiments.viewer_client import PATIENCE
from lib.demo.geometry import DepthRange, view_of_focal
from lib.demo.pictures import find_pictures
from lib.demo.viewer_controls import SourceFacts
from lib.demo.viewer_inputs import DepthService
from lib.demo.viewer_scene import Settings
from lib.demo.viewer_server import ViewerServer
from lib.demo.viewer_session import Source
from lib.predict import DepthMap

from .browser import chromium, require_chromium
from .image_script import write_picture
from .viewer_stub import METRIC, StubModel

HEIGHT, WIDTH = 192, 256
STEADY = 2.0  # mean difference of grey values below which two pictures of the screen are the same


class TrueDepth(StubModel):
    """A model that knows the depth of one rendered scene."""

    def __init__(self, depth: np.ndarray):
        super().__init__(METRIC)
        self.depth = depth

    def predict(self, images_bgr: list[np.ndarray], max_side_length: int | None = None) -> list[DepthMap]:
        return [DepthMap(self.depth, "metres", False, (0.0, 20.0)) for _ in images_bgr]


class Page:
    """The page with what the tests do to it."""

    def __init__(self, page, image_bgr: np.ndarray):
        self.page, self.image_bgr = page, image_bgr

    def shot(self) -> np.ndarray:
        """The scene between the panels, H W 3."""
        data = self.page.screenshot()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return image[160:, 310:-330]  # below viser's notice about rendering without a graphics card

    def settled(self) -> np.ndarray:
        """The scene, once it no longer changes."""
        deadline, before = time.monotonic() + PATIENCE, self.shot()
        while time.monotonic() < deadline:
            time.sleep(0.4)
            now = self.shot()
            if np.abs(now.astype(int) - before).mean() < 0.1:
                return now
            before = now
        raise AssertionError("the scene never comes to rest")

    def changed(self, before: np.ndarray) -> np.ndarray:
        """The scene, once it is another one and no longer changes."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = self.settled()
            if np.abs(now.astype(int) - before).mean() > STEADY:
                return now
        raise AssertionError("the scene does not change")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def control(self, name: str):
        """The row of a control: its label's outermost box."""
        return self.page.locator(f'label:text-is("{name}")').locator("xpath=ancestor::div[3]")

    def drag(self, name: str, share: float) -> None:
        """Drags a slider to this share of its track, as a person does."""
        thumb, track = (self.control(name).locator(f".mantine-Slider-{part}").first for part in ("thumb", "track"))
        start, box = thumb.bounding_box(), track.bounding_box()
        mouse = self.page.mouse
        mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
        mouse.down()
        mouse.move(box["x"] + share * box["width"], start["y"] + start["height"] / 2, steps=5)
        mouse.up()

    def choose(self, name: str, option: str) -> None:
        self.control(name).locator("input").first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def download(self, button: str) -> tuple[str, bytes]:
        with self.page.expect_download(timeout=1000 * PATIENCE) as waiting:
            self.page.get_by_role("button", name=button, exact=True).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    """A page that shows a rendered scene with its true depth and camera; every address that it asked for."""
    require_chromium()  # before anything is rendered
    batch = render_scenes([6], HEIGHT, WIDTH, kinds=["room"])
    image_bgr = (batch.images_rgb[0].flip(0).permute(1, 2, 0) * 255).byte().numpy()
    folder = tmp_path_factory.mktemp("page")
    write_picture(folder / "room.png", image_bgr)
    files = tuple(find_pictures([str(folder / "room.png")]))
    view = view_of_focal(float(batch.cameras.fx[0]), WIDTH)
    source = Source(SourceFacts(names=("room.png",)), files, view_degrees=view)
    settings = Settings(depth_range=DepthRange(0.01, 20.0))
    service = DepthService(TrueDepth(batch.depth[0].numpy()))
    server = ViewerServer(service, source, settings, host="localhost", port=18180, title="test")
    try:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 1040, "height": 600})
            page.set_default_timeout(1000 * PATIENCE)
            asked = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(server.url, timeout=1000 * PATIENCE)
            page.get_by_text(f"{WIDTH} × {HEIGHT}").wait_for()
            yield Page(page, image_bgr), asked, server
    finally:
        server.stop()


def test_the_page_shows_the_scene_and_needs_nothing_from_outside(viewer):
    page, asked, server = viewer
    scene = page.settled()
    assert scene.std() > 20  # neither empty nor one colour
    assert (np.abs(scene.astype(int) - [28, 24, 24]).max(axis=-1) < 6).mean() < 0.8
    own = (f"http://localhost:{server.port}", f"ws://localhost:{server.port}", "data:", "blob:")
    assert asked and [url for url in asked if not url.startswith(own)] == []
    assert page.page.locator("[data-testid=share], [aria-label*=hare]").count() == 0


def test_through_the_photographs_camera_one_sees_the_photograph(viewer):
    page, _, _ = viewer
    before = page.settled()
    page.control("Camera").locator("input").first.click()  # its pyramid would stand in the way
    page.tab("Depth")
    page.page.get_by_role("button", name="camera", exact=True).click()
    page.changed(before)
    page.tab("Save")
    name, data = page.download("Screenshot")
    assert name == "room_screenshot.png"
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    inside = np.abs(seen.astype(int) - [28, 24, 24]).max(axis=-1) > 12
    rows, columns = (np.flatnonzero(inside.mean(axis=axis) > 0.3) for axis in (1, 0))
    part = seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert part.shape[1] / part.shape[0] == pytest.approx(WIDTH / HEIGHT, rel=0.03)
    part = cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    likeness = np.corrcoef(part.ravel(), page.image_bgr.ravel())[0, 1]
    assert likeness > 0.95
    assert np.abs(part.mean(axis=(0, 1)) - page.image_bgr.mean(axis=(0, 1))).max() < 8  # and its colours
    shifted = np.corrcoef(np.roll(part, 12, axis=1).ravel(), page.image_bgr.ravel())[0, 1]
    assert shifted < likeness - 0.03


def test_sliders_and_choices_change_what_is_seen(viewer):
    page, _, _ = viewer
    page.tab("Depth")
    before = page.settled()
    page.page.get_by_role("button", name="aside", exact=True).click()
    before = page.changed(before)
    page.drag("Field of view", 0.65)
    before = page.changed(before)
    page.tab("Scene")
    page.choose("Colours", "normals")
    before = page.changed(before)
    page.drag("Point size", 0.02)
    page.choose("Shape", "point cloud")
    before = page.changed(before)
    page.choose("Background", "light")
    light = page.changed(before)
    assert (light > 245).all(axis=-1).mean() > (before > 245).all(axis=-1).mean() + 0.1
    page.tab("Save")
    page.page.get_by_role("button", name="Reset", exact=True).click()
    page.changed(light)


def test_a_mesh_is_saved_from_the_page(viewer):
    page, _, _ = viewer
    page.tab("Save")
    name, data = page.download("Save")
    assert name == "room.glb"
    (mesh,) = trimesh.load(io.BytesIO(data), file_type="glb").geometry.values()
    assert len(mesh.vertices) > 0.8 * HEIGHT * WIDTH


def test_the_value_under_the_pointer(viewer):
    page, _, server = viewer
    picture = page.page.locator("img[alt=Input]")
    place = page.page.locator(".plain-depth p").get_by_text("in the scene")
    deadline = time.monotonic() + 60
    while not place.is_visible():  # on a busy machine the page may still be moving things about when the pointer arrives
        assert time.monotonic() < deadline
        box = picture.bounding_box()
        picture.hover(position={"x": 0.25 * box["width"], "y": 0.75 * box["height"]})
        page.page.wait_for_timeout(500)
    words = place.inner_text()
    x, y = (int(part) for part in words.split(":")[0].removeprefix("at ").split(", "))
    assert abs(x - WIDTH / 4) <= 2 and abs(y - 3 * HEIGHT / 4) <= 2
    assert float(words.split(": ")[1].split(" ")[0]) == pytest.approx(server.service.model.depth[y, x], rel=1e-3)


def test_the_help_explains_the_controls(viewer):
    page, _, _ = viewer
    page.tab("Help")
    for words in ("Moving about", "What metric depth means"):
        page.page.get_by_text(words).first.wait_for()
    assert page.page.locator("em", has_text="Edge threshold").count() == 1
