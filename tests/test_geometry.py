"""From depth to points: against scenes whose camera and depth are known exactly, and by what must always hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.procedural_scenes import render_scenes
from lib.demo import geometry
from lib.demo.geometry import DepthRange, Pinhole

HEIGHT, WIDTH = 72, 96
METRES_RANGE = DepthRange(0.01, 1e4)


@pytest.fixture(scope="module", params=["room", "ground"])
def scene(request):
    """A rendered batch of one scene."""
    return render_scenes([5], HEIGHT, WIDTH, kinds=[request.param])


def camera_of(scene) -> Pinhole:
    cameras = scene.cameras
    return Pinhole(WIDTH, HEIGHT, *(float(getattr(cameras, name)[0]) for name in ("fx", "fy", "cx", "cy")))


def true_points(scene) -> np.ndarray:
    """World coordinates of every pixel as the renderer knows them, turned into the camera's axes: H W 3."""
    cameras = scene.cameras
    world = cameras.unproject(scene.depth)[0].numpy().astype(np.float64)
    in_camera = (world - cameras.position[0].numpy()) @ cameras.rotation[0].numpy()  # x right, y down, z forward
    return in_camera * [1, -1, -1]


def everywhere(height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(height), np.arange(width)


def flatness(points: np.ndarray) -> float:
    """Largest distance from the plane that fits best, over the extent of the points."""
    centred = points - points.mean(axis=0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][-1]
    return float(np.abs(centred @ normal).max() / np.linalg.norm(np.ptp(points, axis=0)))


def floor_pixels(scene) -> np.ndarray:
    """H W bool: where the world's height is that of the ground."""
    height = scene.cameras.unproject(scene.depth)[0, ..., 2].numpy()
    on_floor = np.abs(height) < 1e-3
    assert on_floor.sum() > 100
    return on_floor


def test_points_are_where_the_scene_has_them(scene):
    depth = scene.depth[0].numpy()
    metres = geometry.to_metres(depth, "metres", (0, 0), METRES_RANGE)
    points = geometry.unproject(metres, camera_of(scene), *everywhere())
    known, truth = np.isfinite(metres), true_points(scene)
    assert known.mean() > 0.3
    error = np.linalg.norm(points - truth, axis=-1)[known] / np.linalg.norm(truth, axis=-1)[known]
    assert error.max() < 1e-4


def test_relative_depth_finds_the_scene_again(scene):
    """Values with an unknown scale and shift, and the true nearest and farthest distance: that is all the formula needs."""
    depth = scene.depth[0].numpy()
    known = np.isfinite(depth) & (depth < 200)
    near, far = float(depth[known].min()), float(depth[known].max())
    values = np.where(known, 37 / depth + 11, np.nan).astype(np.float32)
    limits = (37 / far + 11, 37 / near + 11)
    metres = geometry.to_metres(values, "inverse depth", limits, DepthRange(near, far))
    assert np.abs(metres / depth - 1)[known].max() < 1e-3
    assert not np.isfinite(metres[~known]).any()


def test_a_floor_comes_out_flat_and_level(scene):
    """1 / depth is linear in the values, so planes stay planes whatever the shift; but only the right one keeps angles."""
    depth = scene.depth[0].numpy()
    floor = floor_pixels(scene)
    near, far = float(depth[floor].min()), float(depth[floor].max())
    values, limits = (1 / depth).astype(np.float32), (1 / far, 1 / near)

    def floor_points(quantity: str, shift: float) -> np.ndarray:
        metres = geometry.to_metres(values, quantity, limits, DepthRange(near, far, 1.0, shift))
        return geometry.unproject(metres, camera_of(scene), *everywhere())[floor]

    def tilt(points: np.ndarray) -> float:
        """Degrees between the plane of these points and the true ground."""
        normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][-1]
        up = scene.cameras.rotation[0].numpy().T @ [0, 0, 1] * [1, -1, -1]
        return float(np.degrees(np.arccos(min(abs(normal @ up), 1))))

    right, shifted = floor_points("inverse depth", 0.0), floor_points("inverse depth", 0.3)
    assert flatness(right) < 1e-3 and flatness(shifted) < 1e-3
    assert tilt(right) < 0.1 and tilt(shifted) > 3
    assert flatness(floor_points("depth", 0.0)) > 1e-2  # as if the values were depth itself


def test_the_normals_of_a_floor_point_up(scene):
    points = true_points(scene).astype(np.float32)
    inside = floor_pixels(scene)
    for axis in (0, 1):
        inside &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    up = scene.cameras.rotation[0].numpy().T @ [0, 0, 1] * [1, -1, -1]
    np.testing.assert_allclose(geometry.normals(points)[inside], np.broadcast_to(up, (inside.sum(), 3)), atol=5e-3)


def test_normals_face_the_camera(scene):
    depth = np.where(scene.depth[0] < 100, scene.depth[0], np.nan).astype(np.float32)
    points = geometry.unproject(depth, camera_of(scene), *everywhere())
    normals = geometry.normals(points)
    known = np.isfinite(depth) & (np.linalg.norm(normals, axis=-1) > 0)
    assert ((normals * -points).sum(axis=-1)[known] > -1e-4 * depth[known]).all()
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=-1), 1, rtol=1e-5)


def test_a_smaller_copy_and_a_part_of_a_picture_see_the_same_points():
    camera = Pinhole.centred(640, 480, 500.0)
    plane = np.full((480, 640), 4.0, np.float32)
    whole = geometry.unproject(plane, camera, *everywhere(480, 640))
    part = geometry.unproject(plane[100:200, 50:250], camera.cropped(50, 100, 200, 100), *everywhere(100, 200))
    np.testing.assert_allclose(part, whole[100:200, 50:250], rtol=1e-5, atol=1e-6)
    half = geometry.unproject(plane[::2, ::2], camera.resized(320, 240), *everywhere(240, 320))
    middle_of_four = whole.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half, middle_of_four, rtol=1e-4, atol=1e-4)


def test_triangles_face_the_camera_and_use_every_pixel():
    metres = np.random.default_rng(0).uniform(2, 3, (13, 17)).astype(np.float32)
    surface = geometry.make_surface(metres, Pinhole.centred(17, 13, 15.0), step=1, threshold=geometry.NEVER_TEAR)
    assert len(surface.faces) == 2 * 12 * 16 and len(surface.vertices) == 13 * 17
    corners = surface.vertices[surface.faces]
    outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outwards * -corners.mean(axis=1)).sum(axis=-1) > 0).all()
    np.testing.assert_array_equal(surface.vertices[:, 2], -metres[surface.rows, surface.columns])


def test_a_mesh_is_torn_at_edges_and_nowhere_else():
    metres = np.full((20, 30), 2.0, np.float32)
    metres[:, 15:] = 4.0
    camera = Pinhole.centred(30, 20, 25.0)
    torn = geometry.make_surface(metres, camera, step=1, threshold=0.1)
    assert len(torn.faces) == 2 * 19 * (14 + 14)
    corners = -torn.vertices[torn.faces][..., 2]
    assert (np.ptp(corners, axis=1) == 0).all()
    whole = geometry.make_surface(metres, camera, step=1, threshold=1.5)
    assert len(whole.faces) == 2 * 19 * 29
    points, _, columns = geometry.make_points(metres, camera, step=1, threshold=0.1)
    assert set(columns) == set(range(30)) - {14, 15} and len(points) == 20 * 28


def test_a_slope_is_torn_no_sooner_when_it_is_decimated():
    metres = np.broadcast_to(2 * 1.04 ** np.arange(40), (40, 40)).astype(np.float32)  # four per cent a pixel
    for step in (1, 2, 3):
        surface = geometry.make_surface(metres, Pinhole.centred(40, 40, 40.0), step=step, threshold=0.05)
        assert set(surface.columns) == set(geometry.kept(40, step))


def test_unknown_pixels_are_left_out():
    metres = np.full((10, 10), 3.0, np.float32)
    metres[4, 5] = np.nan
    surface = geometry.make_surface(metres, Pinhole.centred(10, 10, 9.0), step=1, threshold=0.1)
    assert len(surface.vertices) == 99 and np.isfinite(surface.vertices).all()
    points, _, _ = geometry.make_points(metres, Pinhole.centred(10, 10, 9.0), step=1, threshold=0.1)
    assert len(points) == 99
    nothing = geometry.make_surface(np.full((4, 4), np.nan, np.float32), Pinhole.centred(4, 4, 4.0), step=1, threshold=0.1)
    assert nothing.vertices.shape == (0, 3) and nothing.faces.shape == (0, 3)


@given(st.integers(1, 200), st.integers(1, 20))
def test_decimation_keeps_both_ends(length, step):
    indices = geometry.kept(length, step)
    assert indices[0] == 0 and indices[-1] == length - 1
    assert (np.diff(indices) >= 1).all() and (np.diff(indices) <= step).all()


@given(st.floats(0.01, 5), st.floats(1.1, 100), st.floats(0, 1))
def test_the_formula(near, ratio, value):
    far = near * ratio
    metres = geometry.inverse_to_metres(np.array([value]), near, far)[0]
    assert near * (1 - 1e-9) <= metres <= far * (1 + 1e-9)
    assert 1 / metres == pytest.approx(value / near + (1 - value) / far)  # linear between the ends


def test_metres_outside_near_and_far_are_unknown():
    depth = np.float32([[0.5, 1, 5, 20, 25, np.nan, np.inf, -1]])
    metres = geometry.to_metres(depth, "metres", (0, 0), DepthRange(1, 20))
    np.testing.assert_array_equal(metres, np.float32([[np.nan, 1, 5, 20, np.nan, np.nan, np.nan, np.nan]]))
    with pytest.raises(ValueError, match="near"):
        geometry.to_metres(depth, "metres", (0, 0), DepthRange(3, 2))


def test_relative_depth_is_linear_between_near_and_far():
    metres = geometry.to_metres(np.float32([[10, 15, 20]]), "depth", (10, 20), DepthRange(2, 6))
    np.testing.assert_allclose(metres, [[2, 4, 6]])


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_smoothing_evens_out_noise_and_keeps_edges(strength):
    rng = np.random.default_rng(0)
    clean = np.where(np.arange(100) < 50, 1.0, 9.0) * np.ones((80, 1))
    noisy = (clean + rng.normal(0, 0.03, clean.shape)).astype(np.float32)
    noisy[0, 0] = np.nan
    smoothed = geometry.smooth(noisy, strength)
    assert np.isnan(smoothed[0, 0]) and np.nanstd(smoothed - clean) < 0.8 * np.nanstd(noisy - clean)
    assert np.nanmax(np.abs(smoothed - clean)) < 0.3
    assert geometry.smooth(noisy, 0) is noisy


def test_focal_lengths():
    assert geometry.focal_of_35mm(43.2666, 4000, 3000) == pytest.approx(5000, rel=1e-4)  # the diagonal itself
    camera = Pinhole.centred(640, 480, geometry.focal_of_view(70.0, 640))
    assert camera.view_degrees[0] == pytest.approx(70)
    assert geometry.view_of_focal(camera.fx, 640) == pytest.approx(70)
