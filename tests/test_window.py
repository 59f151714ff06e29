"""The window of run_image.py, for real: on a virtual screen, with keys and a mouse, by what is seen there."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.demo import drawing
from lib.demo.colour import Look, paint_depth
from lib.demo.pictures import read_picture
from lib.demo.window import HELP, SMALLEST_HEIGHT, STATUS_HEIGHT
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import DepthMap, predict_depth

from .conftest import REPOSITORY, make_picture
from .virtual_screen import PATIENCE, Viewer, press_close_button, viewers

DISPLAY_SIZE, SIDE = 900, 112
AVAILABLE = (DISPLAY_SIZE, round(0.6 * DISPLAY_SIZE))  # for both panels
TRACKBARS = 4


@pytest.fixture
def view(screen, small_file, tmp_path) -> Iterator[Callable[..., Viewer]]:
    """view(options...) -> a Viewer that was started with them; its results go below tmp_path."""
    common = ["-m", small_file, "-d", "cpu", "-b", SIDE, "-s", DISPLAY_SIZE]
    with viewers(screen, REPOSITORY / "run_image.py", common, tmp_path) as start:
        yield start


def predict(weights: Path, picture: Path, side: int = SIDE) -> DepthMap:
    _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights)
    return predict_depth(dpt_model, dpt_imgproc, read_picture(picture), max_side_length=side)


def panels(picture: Path) -> tuple[int, int]:
    """Width and height of each panel for a picture that is shown side by side."""
    width, height, stacked = drawing.fit_panels(*read_picture(picture).shape[:2], AVAILABLE)
    assert not stacked
    return width, height


def shows_picture(picture: Path) -> Callable[[np.ndarray], bool]:
    width, height = panels(picture)
    expected = drawing.resize(read_picture(picture), width, height)
    return lambda shot: np.array_equal(shot[:height, :width], expected)


def shows_depth(picture: Path, depth_map: DepthMap, look: Look) -> Callable[[np.ndarray], bool]:
    """Whether the right panel has this depth in these colours (but for rounding, and a cursor)."""
    width, height = panels(picture)
    depth = drawing.resize(depth_map.depth, width, height)
    expected, _ = paint_depth(depth, look, nearest_is_largest=depth_map.nearest_is_largest)
    left = width + drawing.GAP
    return lambda shot: float(cv2.absdiff(shot[:height, left : left + width], expected).mean()) < 1.5


def shows_text(text: str, line: int, canvas_height: int, width: int = 500) -> Callable[[np.ndarray], bool]:
    """Whether a line of text below the legend (0, 1 or 2) reads exactly so, as far as this width."""
    strip = np.full((21, width, 3), drawing.BACKGROUND, np.uint8)
    drawing.draw_text(strip, text, (drawing.MARGIN, 15))
    top = canvas_height - STATUS_HEIGHT + 14 + 21 * line - 15
    return lambda shot: np.array_equal(shot[top : top + 21, :width], strip)


def shows_title(beginning: str, picture: Path) -> Callable[[np.ndarray], bool]:
    """Whether the line that names the picture begins like this."""
    _, height, stacked = drawing.fit_panels(*read_picture(picture).shape[:2], AVAILABLE)
    panels_height = max(2 * height + drawing.GAP if stacked else height, SMALLEST_HEIGHT)
    return shows_text(beginning, 0, panels_height + drawing.LEGEND_HEIGHT + STATUS_HEIGHT, width=40)


def latest_json(folder: Path) -> dict:
    return json.loads(max(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


@pytest.fixture
def two_pictures(tmp_path) -> list[Path]:
    """Two pictures, and between them a file that is none."""
    paths = [tmp_path / "in" / name for name in ("1.png", "3.png")]
    paths[0].parent.mkdir()
    cv2.imwrite(str(paths[0]), make_picture(120, 160, seed=1))
    cv2.imwrite(str(paths[1]), make_picture(150, 150, seed=2))
    (tmp_path / "in" / "2.png").write_bytes(b"not a picture")
    return paths


def test_a_visit(view, two_pictures, small_file, tmp_path):
    first, second = two_pictures
    depth_map, second_map = predict(small_file, first), predict(small_file, second)
    width, height = panels(first)
    canvas_height = height + drawing.LEGEND_HEIGHT + STATUS_HEIGHT
    viewer = view("-i", first.parent, "--save", "npy", "colour")

    viewer.wait(shows_picture(first), "the picture")
    shot = viewer.wait(shows_depth(first, depth_map, Look()), "its depth")
    viewer.wait(shows_text("1 of 3,  160 x 120 (network 112 x 84),  1.png", 0, canvas_height), "the title")
    viewer.wait(shows_text("h: help", 2, canvas_height), "the hint")

    # The legend is that of the depth, and the trackbars below the canvas have labels.
    _, palette = paint_depth(drawing.resize(depth_map.depth, width, height), Look(), nearest_is_largest=True)
    legend = drawing.draw_legend(palette, 2 * width + drawing.GAP, "inverse depth, without a unit   [inferno]")
    assert cv2.absdiff(shot[height : height + drawing.LEGEND_HEIGHT, : legend.shape[1]], legend).mean() < 1.5
    answer = viewer.screen.do("getwindowgeometry", "--shell", viewer.window())
    geometry = dict(line.split("=") for line in answer.splitlines())
    assert (geometry["X"], geometry["Y"]) == ("0", "0")
    bar_height = (int(geometry["HEIGHT"]) - canvas_height) // TRACKBARS

    def bar_middle(number: int) -> int:
        return canvas_height + bar_height * number + bar_height // 2

    for number in range(TRACKBARS):
        label = shot[bar_middle(number) - bar_height // 2 : bar_middle(number) + bar_height // 2, 4:100]
        assert (label.max(axis=2) < 100).sum() > 100, f"trackbar {number} has no label"

    # Keys change the colours, and arrow keys (whose codes look like letters to OpenCV) do nothing.
    look = Look()
    for key, look in (
        ("c", Look("spectral")),
        ("r", Look("spectral", reverse=True)),
        ("e", Look("spectral", reverse=True, equalise=True)),
        ("Left", Look("spectral", reverse=True, equalise=True)),
        ("x", Look("inferno", reverse=True, equalise=True)),
    ):
        viewer.key(key)
        viewer.wait(shows_depth(first, depth_map, look), f"the colours after {key}")

    # The value under the mouse, in either panel; the last row and column belong to the last pixel.
    for x, y in ((width // 2, height // 3), (2 * width + drawing.GAP - 1, height - 1), (0, 0)):
        viewer.screen.do("mousemove", x, y)
        column, row = (x - width - drawing.GAP if x > width else x) * 160 // width, y * 120 // height
        text = f"at {column}, {row}: {depth_map.depth[row, column]:.4g} (inverse depth)"
        viewer.wait(shows_text(text, 1, canvas_height), text)
    viewer.screen.do("mousemove", 2 * width - 60, canvas_height - 10)
    viewer.wait(shows_text("", 1, canvas_height), "no value beside the pictures")

    # Help comes and goes.
    viewer.key("h")
    box = shot[:height, :width].copy()
    drawing.draw_help(box, HELP)
    viewer.wait(lambda seen: np.array_equal(seen[:200, : width // 2], box[:200, : width // 2]), "the help")
    viewer.key("h")
    viewer.wait(shows_picture(first), "the picture again")

    # Saving keeps what is shown, and twice makes two results.
    viewer.key("s")
    viewer.wait(shows_text("saved as results/1*", 2, canvas_height), "the name of the result")
    np.testing.assert_allclose(np.load(tmp_path / "results" / "1_depth.npy"), depth_map.depth, atol=1e-3)
    saved = cv2.imread(str(tmp_path / "results" / "1_colour.png"))
    expected, _ = paint_depth(depth_map.depth, look, nearest_is_largest=True)
    assert cv2.absdiff(saved, expected).mean() < 1.5

    # Trackbars: 0 processing size, 1 near, 2 far, 3 plane.
    for number, button in ((1, 5), (2, 4), (3, 4), (0, 4)):
        viewer.screen.do("mousemove", width, bar_middle(number), "sleep", "0.2", "click", "--repeat", 5, button)
    viewer.wait(
        lambda seen: not shows_text("1 of 3,  160 x 120 (network 112 x 84),  1.png", 0, canvas_height)(seen),
        "another network size",
    )
    viewer.key("s")
    viewer.wait(shows_text("saved as results/1_2*", 2, canvas_height), "the second result")
    facts = latest_json(tmp_path / "results")
    changed = Look(**facts["look"])
    assert changed.near_percent < 100 and changed.far_percent > 0 and changed.plane_percent > 0
    side = facts["network_size"]["width"]
    assert side > SIDE and side % 14 == 0
    viewer.wait(shows_depth(first, predict(small_file, first, side), changed), "the flattened depth")

    # The next picture is the third file, because the second is none; after it comes the first again.
    viewer.key("n")
    viewer.wait(shows_picture(second), "the next picture")
    viewer.key("n")
    viewer.wait(shows_picture(first), "the first picture again")
    viewer.key("p")
    viewer.wait(shows_picture(second), "the last picture")
    viewer.wait(shows_depth(second, predict(small_file, second, side), changed), "its depth, at the chosen size")
    assert second_map.depth.shape == (150, 150)

    viewer.key("q")
    code, output, errors = viewer.end()
    assert code == 1  # a picture could not be read
    assert "2.png" in errors and "Traceback" not in errors and "saved as results/1_2*" in output


def test_a_region(view, two_pictures, small_file, tmp_path):
    picture = two_pictures[0]
    viewer = view("-i", picture, "--crop")
    scale = min(DISPLAY_SIZE / 160, 0.6 * DISPLAY_SIZE / 120)
    width, height = round(160 * scale), round(120 * scale)
    whole = drawing.resize(read_picture(picture), width, height)
    viewer.wait(lambda shot: np.array_equal(shot[5:height, 5:width], whole[5:, 5:]), "the whole picture")
    viewer.screen.drag((round(100 * scale), round(80 * scale)), (round(20 * scale), round(30 * scale)))
    viewer.wait(lambda shot: not np.array_equal(shot[5:height, 5:width], whole[5:, 5:]), "a rectangle")
    viewer.key("Return")
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("results/*_colour.png")) and time.monotonic() < deadline:
        viewer.key("s")  # nothing is saved until the depth is there
    x, y, region_width, region_height = latest_json(tmp_path / "results")["region"]
    assert np.abs(np.subtract([x, y, region_width, region_height], [20, 30, 80, 50])).max() <= 1
    assert np.load(tmp_path / "results" / "1_depth.npy").shape == (region_height, region_width)
    viewer.key("Escape")
    assert viewer.end()[0] == 0


@pytest.mark.parametrize("way", ["Escape", "close button", "Ctrl-C"])
def test_ways_to_quit(view, two_pictures, way):
    viewer = view("-i", two_pictures[0])
    viewer.wait(shows_picture(two_pictures[0]), "the picture")
    if way == "Escape":
        viewer.key("Escape")
    elif way == "close button":
        press_close_button(viewer.screen.display, viewer.window())
    else:
        viewer.process.send_signal(signal.SIGINT)
    code, _, errors = viewer.end()
    assert code == (130 if way == "Ctrl-C" else 0) and "Traceback" not in errors


def test_odd_pictures(view, tmp_path):
    """One pixel, a strip, a picture that the network cannot take: all are shown, and the window survives."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name, (height, width) in {"1.png": (1, 1), "2.png": (3, 400), "3.png": (1, 60000), "4.png": (120, 160)}.items():
        cv2.imwrite(str(folder / name), make_picture(height, width))
    viewer = view("-i", folder)
    for number, name in enumerate(("1.png", "2.png", "3.png", "4.png"), start=1):
        viewer.wait(shows_title(f"{number} of 4", folder / name), f"the title of {name}")
        if name in ("1.png", "4.png"):
            viewer.wait(shows_picture(folder / name), name)
        if name != "4.png":
            viewer.key("n")
    viewer.key("q")
    code, _, errors = viewer.end()
    assert code == 0 and "Traceback" not in errors
