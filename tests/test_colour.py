"""Depth maps in colours and in 16 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.demo.colour import Look, colour_table, paint_depth, remove_plane
from lib.demo.options import COLOUR_MAPS
from lib.demo.save import to_16bit


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_every_colour_map(name):
    table = colour_table(name)
    assert table.shape == (256, 3) and table.dtype == np.uint8 and len(np.unique(table, axis=0)) > 100
    depth = np.linspace(1, 5, 256, dtype=np.float32)[None]
    near_large, _ = paint_depth(depth, Look(name), nearest_is_largest=True)
    near_small, _ = paint_depth(depth, Look(name), nearest_is_largest=False)
    assert np.array_equal(near_large[0, -1], table[-1]) and np.array_equal(near_small[0, 0], table[-1])
    assert np.array_equal(paint_depth(depth, Look(name, reverse=True), nearest_is_largest=True)[0], near_small)
    if name not in ("bone", "gray"):  # near is bright or warm
        assert table[-1].sum() > table[0].sum() + 100 or int(table[-1, 2]) > int(table[-1, 0]) + 50


def test_thresholds_clip_the_range():
    depth = np.linspace(0, 100, 101, dtype=np.float32)[None]
    colours, palette = paint_depth(depth, Look("gray", far_percent=20, near_percent=60), nearest_is_largest=True)
    assert (palette.far, palette.near) == (20, 60)
    assert (colours[0, :21] == 0).all() and (colours[0, 60:] == 255).all() and 100 < colours[0, 40, 0] < 155
    metres, palette = paint_depth(depth, Look("gray", far_percent=20, near_percent=60), nearest_is_largest=False)
    assert (palette.far, palette.near) == (80, 40) and np.array_equal(metres, colours[:, ::-1])
    crossed, palette = paint_depth(depth, Look(far_percent=90, near_percent=10), nearest_is_largest=True)
    assert palette.far < palette.near


@pytest.mark.parametrize("nearest_is_largest", [True, False])
def test_equalised_colours_cover_as_many_pixels_each(nearest_is_largest):
    depth = np.random.default_rng(0).lognormal(size=(100, 100)).astype(np.float32)
    plain, _ = paint_depth(depth, Look("gray"), nearest_is_largest=nearest_is_largest)
    equalised, palette = paint_depth(depth, Look("gray", equalise=True), nearest_is_largest=nearest_is_largest)
    shares = np.histogram(equalised[..., 0], bins=8, range=(0, 256))[0] / depth.size
    assert np.abs(shares - 1 / 8).max() < 0.02 and np.histogram(plain[..., 0], 8, (0, 256))[0].max() > depth.size / 2
    order = np.argsort(depth, axis=None)
    steps = np.diff(equalised[..., 0].ravel()[order].astype(int))
    assert (steps >= 0).all() if nearest_is_largest else (steps <= 0).all()
    assert np.array_equal(palette.paint(depth), equalised)  # what the legend shows is what the map shows


@pytest.mark.parametrize("shape", [(300, 400), (1, 50), (50, 1), (1, 1), (1200, 900)])
def test_a_removed_plane_is_gone(shape):
    ys, xs = np.mgrid[0 : shape[0], 0 : shape[1]]
    plane = (3 + 0.02 * xs - 0.01 * ys).astype(np.float32)
    assert np.abs(remove_plane(plane, 1.0)).max() < 1e-4
    np.testing.assert_allclose(remove_plane(plane, 0.25), 0.75 * plane, atol=1e-4)
    assert remove_plane(plane, 0) is plane
    holes = plane.copy()
    holes[0, 0] = np.nan
    rest = remove_plane(holes, 1.0)
    assert shape == (1, 1) or np.nanmax(np.abs(rest)) < 1e-4


@given(
    low=st.floats(-1e4, 1e4, width=32),
    spread=st.sampled_from([0.0, 1e-6, 1.0, 1e5]),
    seed=st.integers(0, 1000),
)
def test_sixteen_bits_keep_the_values(low, spread, seed):
    depth = (low + spread * np.random.default_rng(seed).random((5, 7))).astype(np.float32)
    codes, scale, offset = to_16bit(depth, float(depth.min()), float(depth.max()))
    assert codes.dtype == np.uint16
    assert np.abs(codes * scale + offset - depth.astype(np.float64)).max() <= 0.5001 * scale


def test_values_that_are_not_finite():
    depth = np.float32([[1, 2, np.nan], [3, np.inf, -np.inf]])
    codes, scale, offset = to_16bit(depth, 1.0, 3.0)
    assert codes.tolist() == [[0, 32768, 0], [65535, 0, 0]]
    colours, palette = paint_depth(depth, Look("gray"), nearest_is_largest=True)
    assert (palette.far, palette.near) == (1.0, 3.0)
    assert colours[..., 0].tolist() in ([[0, 127, 0], [255, 0, 0]], [[0, 128, 0], [255, 0, 0]])
    nothing, _ = paint_depth(np.full((3, 3), np.nan, np.float32), Look(plane_percent=50), nearest_is_largest=True)
    assert (nothing == colour_table("inferno")[0]).all()
