"""Tiled depth: the pieces, the alignment, seams on a rendered scene, and run_image.py --tiled.

The scene's picture is its own inverse depth, and a stand-in for a network reads it from there: at the network's size, and
with another scale and shift for each picture that it sees, as real networks do. So the right result is known everywhere.
"""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from experiments.procedural_scenes import render_scenes, to_bgr
from lib import tiled as tiled_module
from lib.dpt_model import OutputKind
from lib.errors import PictureError
from lib.image_processor import DPTImageProcessor, PictureRule
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth
from lib.tiled import MOST_CHOSEN_TILES, MOST_TILES, OVERLAP, align_tile, count_tiles, cut, fade_in, predict_depth_tiled
from tests import midas
from tests.conftest import make_picture
from tests.image_script import command_line, run, write_picture

RULE = PictureRule(side=112, multiple=14)
TILES = 3


class InverseDepthReader:
    """Stands in for a DPTModel: the brightness of its input, stretched to lie between 0 and `top`."""

    output = OutputKind("inverse depth", nearest_is_largest=True, value_range=(0.0, float("inf")))

    def __init__(self):
        self.inputs = []

    def inference(self, image_rgb: torch.Tensor) -> torch.Tensor:
        """B x 3 x H x W -> B x H x W."""
        self.inputs.append(tuple(image_rgb.shape))
        grey = image_rgb[:, 0] * RULE.std[0] + RULE.mean[0]  # the processor's normalisation undone
        low = grey.amin(dim=(1, 2), keepdim=True)
        top = 3.0 + len(self.inputs)
        return top * (grey - low) / (grey.amax(dim=(1, 2), keepdim=True) - low)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A rendered room: its picture (H0 x W0 x 3 uint8), and its inverse depth as a float picture between 0.2 and 0.8."""
    batch = render_scenes([100], 360, 480, kinds=["room"])
    inverse = 1 / batch.depth[0].numpy()
    inverse = np.clip(inverse, *np.percentile(inverse, (1, 99)))
    inverse = 0.2 + 0.6 * (inverse - inverse.min()) / np.ptp(inverse)
    return to_bgr(batch.images_rgb[0]), inverse.astype(np.float32)


def largest_seam(depth: np.ndarray, reference: np.ndarray, num_tiles: int, *, is_flat: np.ndarray) -> float:
    """The largest step of a map along the tiles' borders, as a share of its range.

    A step: by how much more the map changes across a border than beside it, mean over the flat pixels of one tile's border.
    reference: a map without seams, H0 x W0 too, which is taken away first. is_flat: where no thing of the scene has an edge.
    """
    steps = []
    for excess, flat in ((depth - reference, is_flat), ((depth - reference).T, is_flat.T)):
        changes = np.diff(excess, axis=0)
        along = cut(excess.shape[1], num_tiles)
        for piece in cut(excess.shape[0], num_tiles):
            for border in {piece.start, piece.stop} - {0, excess.shape[0]}:
                step = changes[border - 1] - (changes[border - 2] + changes[border]) / 2
                counted = flat[border - 2 : border + 2].all(axis=0)
                assert counted.mean() > 0.5
                steps += [abs(step[part][counted[part]].mean()) for part in along]
    return max(steps) / np.ptp(depth)


def test_pieces_cover_a_side_and_overlap_enough():
    for side in (37, 100, 481, 1920):
        for num_tiles in range(1, 8):
            pieces = cut(side, num_tiles)
            assert pieces[0].start == 0 and pieces[-1].stop == side and len(pieces) == num_tiles
            lengths = {piece.stop - piece.start for piece in pieces}
            assert len(lengths) == 1
            for one, next_one in pairwise(pieces):
                assert one.stop - next_one.start >= OVERLAP * lengths.copy().pop() - 1


def test_weights_fade_where_another_piece_takes_over_and_nowhere_else():
    for num_tiles in (2, 3, 5):
        total = np.zeros(301)
        for piece in cut(301, num_tiles):
            weight = fade_in(piece, 301).numpy()
            assert weight.max() == 1 and weight.min() > 0
            assert (weight[0] < 0.01) == (piece.start > 0) and (weight[-1] < 0.01) == (piece.stop < 301)
            total[piece] += weight
        assert 0.9 < total.min() and total.max() < 1.1  # together nearly 1, so that dividing by the sum bends nothing


def test_count_shows_the_network_every_pixel():
    for image_hw in ((100, 100), (600, 400), (1080, 1920), (1200, 1700)):
        network_hw = (518, 686)
        num_tiles = count_tiles(image_hw, network_hw)
        lengths = [cut(side, num_tiles)[0].stop for side in image_hw]
        assert all(length <= seen + 1 for length, seen in zip(lengths, network_hw, strict=True))
        if num_tiles > 1:
            fewer = [cut(side, num_tiles - 1)[0].stop for side in image_hw]
            assert any(length > seen for length, seen in zip(fewer, network_hw, strict=True))
    assert count_tiles((100_000, 100_000), (518, 518)) == MOST_CHOSEN_TILES < MOST_TILES


def test_a_tile_takes_over_the_scale_and_shift_of_the_global_map(scene):
    global_map = torch.from_numpy(scene[1])
    tile = 0.03 * global_map - 7
    torch.testing.assert_close(align_tile(tile, global_map).float(), global_map, atol=1e-4, rtol=0)
    tile[:90, :90] += 0.01  # an outlier does not tilt the rest
    rest = (align_tile(tile, global_map) - global_map)[100:, 100:].abs().max()
    assert rest < 0.01


@pytest.mark.parametrize("tile", [torch.zeros(40, 50), torch.full((40, 50), torch.nan), -torch.arange(50.0).expand(40, 50)])
def test_a_tile_that_contradicts_the_global_map_is_not_used(tile):
    global_map = torch.arange(50.0).expand(40, 50)
    assert torch.equal(align_tile(tile, global_map), global_map)


def test_no_seams_and_more_detail_on_a_rendered_scene(scene):
    _, inverse = scene
    network, imgproc = InverseDepthReader(), DPTImageProcessor(RULE)
    plain = predict_depth(network, imgproc, inverse).depth
    result = predict_depth_tiled(network, imgproc, inverse, num_tiles=TILES)
    assert len(network.inputs) == 1 + 1 + TILES**2 and len(set(network.inputs)) == 1
    assert result.depth.shape == inverse.shape and result.depth.dtype == np.float32
    assert (result.quantity, result.value_range) == ("inverse depth", (0.0, float("inf")))

    scale, shift = np.polyfit(inverse.ravel(), result.depth.ravel(), 1)
    truth = scale * inverse + shift
    is_flat = np.abs(cv2.Laplacian(inverse, cv2.CV_32F)) < 0.003
    assert largest_seam(result.depth, truth, TILES, is_flat=is_flat) < 0.01
    span = np.ptp(truth)
    plain_scale, plain_shift = np.polyfit(plain.ravel(), truth.ravel(), 1)
    error, plain_error = (np.abs(each - truth).mean() / span for each in (result.depth, plain_scale * plain + plain_shift))
    assert error < 0.6 * plain_error and error < 0.01
    # Nor is there a step that is spread out over an overlap: away from edges, the map is right to a few hundredths.
    assert np.quantile(np.abs(result.depth - truth)[is_flat], 0.99) < 0.02 * span


@pytest.mark.parametrize("family", ["beit", "swin2"])
def test_no_seams_with_a_network(scene, family, monkeypatch):
    """Random weights: tiles and the whole picture agree in little, which is the hardest case for what joins them."""
    monkeypatch.setattr(tiled_module, "LEAST_CORRELATION", -1.0)
    picture, _ = scene
    model, imgproc = midas.small_model(family), DPTImageProcessor(PictureRule(side=128, multiple=32))
    plain = predict_depth(model, imgproc, picture).depth
    tiled = predict_depth_tiled(model, imgproc, picture, num_tiles=TILES).depth
    assert largest_seam(tiled, plain, TILES, is_flat=np.ones(plain.shape, bool)) < 0.01
    assert np.abs(tiled - plain).mean() > 0.001 * np.ptp(plain)


def test_one_tile_is_the_plain_way(small_file, picture):
    _, model, imgproc = make_dpt_from_state_dict(small_file)
    plain = predict_depth(model, imgproc, picture, max_side_length=112).depth
    for num_tiles in (1, None) if max(picture.shape) < 112 else (1,):
        tiled = predict_depth_tiled(model, imgproc, picture, num_tiles=num_tiles, max_side_length=112)
        assert np.array_equal(tiled.depth, plain)


@pytest.mark.parametrize(("shape", "num_tiles"), [((100, 100, 3), 0), ((100, 100, 3), 99), ((6, 300, 3), 2), ((5, 5, 7), 2)])
def test_what_cannot_be_cut_is_refused(shape, num_tiles):
    with pytest.raises(PictureError):
        predict_depth_tiled(InverseDepthReader(), DPTImageProcessor(RULE), np.full(shape, 9, np.uint8), num_tiles=num_tiles)


def test_run_image_tiled(small_file, tmp_path, capsys):
    write_picture(tmp_path / "in" / "large.png", make_picture(150, 200))
    write_picture(tmp_path / "in" / "tiny.png", make_picture(6, 200))
    assert run(small_file, tmp_path / "in", tmp_path / "out", "--tiled", 2, "--save", "npy") == 1  # one is too thin
    assert "tiny.png: a picture of 200 x 6 pixels cannot be cut into 2 x 2 tiles" in capsys.readouterr().err
    _, model, imgproc = make_dpt_from_state_dict(small_file)
    expected = predict_depth_tiled(model, imgproc, make_picture(150, 200), num_tiles=2, max_side_length=112).depth
    depth = np.load(tmp_path / "out" / "large_depth.npy")
    np.testing.assert_allclose(depth, expected, atol=1e-4 * expected.std())
    assert json.loads((tmp_path / "out" / "large.json").read_text())["tiles_per_side"] == 2

    assert run(small_file, tmp_path / "in" / "large.png", tmp_path / "auto", "--save", "npy", "--tiled") == 0
    facts = json.loads((tmp_path / "auto" / "large.json").read_text())
    assert facts["tiles_per_side"] == count_tiles((150, 200), (84, 112)) > 1
    with pytest.raises(SystemExit):
        command_line("--tiled", "0")
