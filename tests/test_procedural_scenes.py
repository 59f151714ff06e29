"""Procedural scenes: depth against closed formulas, the same scene from the same seed, and pictures that do not give
depth away."""

import itertools
import json
import math
import os
import subprocess
import sys
from random import Random

import cv2
import numpy as np
import pytest
import torch

from experiments import procedural_scenes
from experiments.procedural_scenes import KINDS, render_scenes, stream
from experiments.scenes import materials
from experiments.scenes.builder import Camera, Frame, Light, Scene
from experiments.scenes.camera import pixel_centres
from experiments.scenes.effects import Sensor
from experiments.scenes.kinds import make_scene
from experiments.scenes.render import render
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "experiments" / "procedural_scenes.py"
WORLD = Frame((0.0, 0.0, 0.0))
SIDE = 64
ONE_THREAD = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
}  # the pictures are tiny: more threads spend their time waiting for each other


def empty_scene(camera: Camera) -> tuple[Scene, int]:
    """A scene with nothing in it, lit from above, and a plain grey material."""
    scene = Scene("test", Random(0), camera=camera)
    scene.light = Light((2.0, 2.0, 2.0), direction=(0.0, 0.0, 1.0), centre=(0.0, 5.0, 0.0), radius=6.0)
    sensor = Sensor.draw(scene.random)
    scene.sensor = Sensor(
        **{**vars(sensor), "noise": 0.0, "quality": 0.0, "vignette": 0.0, "aperture": 0.0, "softness": 0.0}
    )
    return scene, materials.paint(scene, (0.0, 0.0, 0.5), gloss=0.0)


def level_camera(height: float = 1.5, *, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Camera:
    return Camera((0.0, 0.0, height), yaw, pitch, roll, math.radians(70))


def depth_of(scene: Scene, side: int = SIDE) -> tuple[torch.Tensor, object]:
    batch = render([scene], side, side)
    return batch.depth[0].double(), batch.cameras


def slopes(cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Tangents of every pixel's ray to the right and downwards, 1 x W and H x 1."""
    u, v = pixel_centres(SIDE, SIDE, "cpu")
    return ((u - cameras.cx[0]) / cameras.fx[0]).double(), ((v - cameras.cy[0]) / cameras.fy[0]).double()


def test_ground_recedes_as_the_formula_says():
    scene, grey = empty_scene(level_camera(1.5))
    scene.box(WORLD, (0, 0, -1), (2000, 2000, 2), grey)
    depth, cameras = depth_of(scene)
    _, down = slopes(cameras)
    expected = (1.5 / down).expand(SIDE, SIDE)
    ground = (down > 0.01).expand(SIDE, SIDE)
    assert torch.allclose(depth[ground], expected[ground], rtol=1e-4)
    assert depth[(down < 0).expand(SIDE, SIDE)].isinf().all()


def test_sphere_has_the_depth_of_the_formula():
    centre, radius = torch.tensor([0.3, 4.0, 1.2], dtype=torch.float64), 0.9
    scene, grey = empty_scene(level_camera(1.5))
    scene.ellipsoid(WORLD, tuple(centre.tolist()), (2 * radius,) * 3, grey)
    depth, cameras = depth_of(scene)
    right, down = (plane.expand(SIDE, SIDE) for plane in slopes(cameras))
    middle = torch.stack([centre[0], 1.5 - centre[2], centre[1]])  # in camera coordinates
    ray = torch.stack([right, down, torch.ones_like(right)], -1)
    a, b = (ray * ray).sum(-1), (ray * middle).sum(-1)
    square = b * b - a * ((middle * middle).sum() - radius**2)
    inside, outside = square > 1e-3, square < -1e-3
    expected = (b - square.clamp(min=0).sqrt()) / a
    assert inside.sum() > 300
    assert torch.allclose(depth[inside], expected[inside], rtol=1e-4)
    assert depth[outside].isinf().all()


def test_a_frontal_wall_has_one_depth():
    scene, grey = empty_scene(level_camera(1.5))
    scene.box(WORLD, (0, 4.0, 1.5), (40, 1.0, 40), grey)
    depth, _ = depth_of(scene)
    assert torch.allclose(depth, torch.full_like(depth, 3.5), rtol=1e-6)


@pytest.mark.parametrize("shape", ["ellipsoid", "cylinder", "cone", "box"])
def test_unprojected_points_lie_on_the_surface(shape):
    """From a turned, pitched and rolled camera, on solids that are turned too."""
    scene, grey = empty_scene(level_camera(2.0, yaw=0.3, pitch=-0.2, roll=0.4))
    frame = Frame((-1.2, 4.0, 0.8)).at(yaw=0.7).tilted(pitch=0.5, roll=-0.3)
    if shape == "ellipsoid":
        scene.ellipsoid(frame, (0, 0, 0), (1.6, 2.4, 1.0), grey)
    elif shape == "box":
        scene.box(frame, (0, 0, 0), (1.6, 2.4, 1.0), grey)
    else:
        scene.cylinder(frame, (0, 0, -0.5), 1.0, 1.0, grey, top_radius=0.4 if shape == "cone" else None)
    batch = render([scene], SIDE, SIDE)
    points = batch.cameras.unproject(batch.depth)[0][batch.depth[0].isfinite()].double()
    assert len(points) > 200
    axes = torch.tensor([frame.x_axis, frame.y_axis, frame.z_axis], dtype=torch.float64)
    x, y, z = ((points - torch.tensor(frame.origin, dtype=torch.float64)) @ axes.T).unbind(-1)
    if shape == "ellipsoid":
        error = (x / 0.8) ** 2 + (y / 1.2) ** 2 + (z / 0.5) ** 2 - 1
    elif shape == "box":
        error = torch.stack([x.abs() - 0.8, y.abs() - 1.2, z.abs() - 0.5]).amax(0)
    else:
        radius = 1.0 if shape == "cylinder" else 1.0 - 0.6 * (z + 0.5)
        error = torch.maximum(torch.hypot(x, y) - radius, z.abs() - 0.5)
    assert error.abs().max() < 1e-3


def test_camera_axes():
    """Yaw turns to the left, pitch upwards; the rotation is one; the pose takes the optical axis to where it looks."""
    scene, grey = empty_scene(level_camera(1.5, yaw=0.5, pitch=0.25, roll=0.2))
    scene.box(WORLD, (0, 0, -1), (100, 100, 2), grey)
    rotation = render([scene], SIDE, SIDE).cameras.rotation[0].double()
    assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-6)
    assert torch.linalg.det(rotation) > 0.99
    forward = torch.tensor(
        [-math.sin(0.5) * math.cos(0.25), math.cos(0.5) * math.cos(0.25), math.sin(0.25)], dtype=torch.float64
    )
    assert torch.allclose(rotation[:, 2], forward, atol=1e-6)
    target = (2.0, 3.0, 0.5)
    scene.camera = Camera.towards((0.0, 0.0, 1.5), target, roll=0.0, diagonal_view=1.0)
    cameras = render([scene], SIDE, SIDE).cameras
    seen = cameras.rotation[0].T @ (torch.tensor(target) - cameras.position[0])
    assert seen[:2].abs().max() < 1e-5 and seen[2] > 3


def test_sun_and_lamp_cast_shadows():
    for lamp in (False, True):
        camera = Camera((0.0, 0.0, 3.0), 0.0, -0.5, 0.0, math.radians(70))
        scene, grey = empty_scene(camera)
        scene.box(WORLD, (0, 0, -1), (100, 100, 2), grey)
        lit = render([scene], SIDE, SIDE).images_rgb[0].mean(0)
        scene.box(WORLD, (0, 5.0, 2.4), (2.0, 2.0, 0.1), grey)  # a board that floats above the picture's middle
        if lamp:
            scene.light = Light((20.0, 20.0, 20.0), position=(0.0, 5.0, 4.0))
        batch = render([scene], SIDE, SIDE)
        points = batch.cameras.unproject(batch.depth)[0]
        floor = points[..., 2].abs() < 0.01
        distance = (points[..., :2] - torch.tensor([0.0, 5.0])).abs().amax(-1)
        image = batch.images_rgb[0].mean(0)
        shadow, free = (
            image[floor & (distance < 0.6)],
            image[floor & (distance > (3.0 if lamp else 1.5)) & (distance < 4)],
        )
        assert len(shadow) > 20 and len(free) > 20
        assert shadow.mean() < 0.8 * free.mean()
        assert lit.std() < 0.1


def test_a_seed_is_one_scene_in_every_batch():
    alone = render_scenes([5], SIDE, SIDE)
    among = render_scenes([2, 9, 5, 7, 1, 3, 4, 8, 11, 12], SIDE, SIDE)
    assert among.kinds[2] == alone.kinds[0]
    # Vectors of another length may round the last bit differently: a silhouette's pixel now and then, one step of
    # brightness.
    close = torch.isclose(among.depth[2], alone.depth[0], rtol=1e-4)
    assert close.float().mean() > 0.999
    assert (among.images_rgb[2] - alone.images_rgb[0]).abs().mean() < 1e-3
    for name in ("fx", "fy", "cx", "cy", "rotation", "position"):
        assert torch.equal(getattr(among.cameras, name)[2], getattr(alone.cameras, name)[0])
    again = render_scenes([5], SIDE, SIDE)
    assert torch.equal(again.images_rgb, alone.images_rgb) and torch.equal(again.depth, alone.depth)


def test_threads_change_nothing():
    one = render_scenes([5, 6, 7], 48, 48)
    try:
        torch.set_num_threads(2)
        two = render_scenes([5, 6, 7], 48, 48)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.isclose(one.depth, two.depth, rtol=1e-4).float().mean() > 0.999
    assert (one.images_rgb - two.images_rgb).abs().mean() < 1e-3 and one.kinds == two.kinds


def test_another_process_renders_the_same():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(1)\n"
        "from experiments.procedural_scenes import render_scenes\n"
        "b = render_scenes([5, 6], 48, 48)\n"
        "print(float(b.images_rgb.double().sum()), float(b.depth[b.depth < 1e3].double().sum()))"
    )
    command = [sys.executable, "-c", code, str(REPOSITORY)]
    image_sum, depth_sum = map(
        float, subprocess.run(command, capture_output=True, text=True, check=True, env=ONE_THREAD).stdout.split()
    )
    batch = render_scenes([5, 6], 48, 48)
    assert image_sum == pytest.approx(float(batch.images_rgb.double().sum()), rel=1e-5)
    assert depth_sum == pytest.approx(float(batch.depth[batch.depth < 1e3].double().sum()), rel=1e-5)


def test_seeds_and_streams_differ():
    batch = render_scenes(range(8), 32, 32)
    for i in range(8):
        for j in range(i):
            assert (batch.images_rgb[i] - batch.images_rgb[j]).abs().mean() > 0.02
    first, second = stream(0, 2, 32, 32), stream(1, 2, 32, 32)
    one, two, other = next(first), next(first), next(second)
    assert not torch.equal(one.images_rgb, two.images_rgb) and not torch.equal(one.images_rgb, other.images_rgb)
    assert torch.equal(next(stream(0, 2, 32, 32)).images_rgb, one.images_rgb)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders(kind):
    batch = render_scenes(range(12), 48, 64, kinds=[kind])
    assert batch.images_rgb.shape == (12, 3, 48, 64) and batch.depth.shape == (12, 48, 64)
    assert batch.images_rgb.dtype == batch.depth.dtype == torch.float32
    assert set(batch.kinds) == {kind}
    assert 0 <= batch.images_rgb.min() and batch.images_rgb.max() <= 1
    steps = batch.images_rgb * 255
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert (batch.images_rgb.flatten(1).std(1) > 0.02).all()
    assert not batch.depth.isnan().any() and batch.depth.min() >= 0.05
    known = batch.depth.isfinite()
    assert (known.float().mean((1, 2)) > 0.2).all()
    if kind in ("street", "ground", "facade"):
        assert (~known).float().mean() > 0.02
    else:
        assert known.float().mean() > 0.95
        assert batch.depth[known].quantile(0.9) < 40


def test_colours_do_not_reveal_depth():
    """Over many scenes, neither brightness nor saturation nor any channel goes with the depth of what is not sky."""
    batch = render_scenes(range(200, 296), 32, 32)
    inverse = 1 / batch.depth
    near = (inverse / inverse.flatten(1).amax(1)[:, None, None]).flatten()
    brightness = batch.images_rgb.mean(1).flatten()
    saturation = (batch.images_rgb.amax(1) - batch.images_rgb.amin(1)).flatten()
    known = batch.depth.isfinite().flatten()
    for name, values in [
        ("brightness", brightness),
        ("saturation", saturation),
        ("blue", batch.images_rgb[:, 2].flatten()),
    ]:
        correlation = torch.corrcoef(torch.stack([near[known], values[known]]))[0, 1]
        assert correlation.abs() < 0.3, name


def test_more_rays_per_pixel_keep_the_depth():
    plain, fine = (render_scenes([3, 4], 48, 48, supersample=count) for count in (1, 3))
    assert torch.isclose(plain.depth, fine.depth, rtol=1e-4).float().mean() > 0.995
    assert 0.0 < (plain.images_rgb - fine.images_rgb).abs().mean() < 0.1
    with pytest.raises(ValueError, match="odd"):
        render_scenes([3], 48, 48, supersample=2)


def test_nothing_stands_in_the_camera():
    for seed in range(60):
        scene = make_scene(seed)
        before = sum(map(len, scene.solids))
        scene.clear_view(0.05)
        assert sum(map(len, scene.solids)) == before


def run_script(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=ONE_THREAD, check=False
    )


def test_contact_sheet(tmp_path):
    target = tmp_path / "new" / "sheet.png"
    done = run_script("-o", str(target), "--count", "5", "--size", "48", "--seed", "3", "--kinds", "room", "street")
    assert done.returncode == 0, done.stderr
    sheet = cv2.imread(str(target))
    assert sheet.shape == (96, 240, 3)
    assert sheet[:48].std() > 20 and sheet[48:].std() > 20


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "nothing to do"),
        (["-o", "sheet.txt"], "ends in .png"),
        (["-o", "sheet.png", "--kinds", "moon"], "expected some of room"),
        (["--fps", "--seed", "-1"], "zero or above"),
        (["--fps", "--device", "nonsense"], "cannot be used"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments, message):
    done = run_script(*arguments)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_saved_pairs_read_back(tmp_path, monkeypatch):
    arguments = [
        "--save",
        str(tmp_path),
        "--count",
        "3",
        "--size",
        "48",
        "--seed",
        "2",
        "--kinds",
        "ground",
        "tabletop",
    ]
    monkeypatch.setattr(sys, "argv", ["procedural_scenes.py", *arguments])
    assert procedural_scenes.main(procedural_scenes.parse_args()) == 0
    batch = render_scenes([2, 3, 4], 48, 48, kinds=["ground", "tabletop"])
    folders = sorted(path.parent for path in tmp_path.glob("*/meta.json"))
    assert len(folders) == 3
    for i, folder in enumerate(folders):
        meta = json.loads((folder / "meta.json").read_text())
        image = cv2.imread(str(folder / meta["image"]))[..., ::-1] / 255.0
        assert np.abs(image - batch.images_rgb[i].permute(1, 2, 0).numpy()).max() < 1e-3
        raw = cv2.imread(str(folder / meta["gt"]), cv2.IMREAD_UNCHANGED)
        assert raw.dtype == np.uint16
        depth = batch.depth[i].numpy()
        known = depth <= procedural_scenes.FARTHEST_SAVED
        assert np.array_equal(raw > 0, known)
        assert np.abs(raw * meta["scale"] - depth)[known].max() <= 0.51 * meta["scale"]
        assert meta["intrinsics"]["fx"] == pytest.approx(float(batch.cameras.fx[i]))


def test_sample_and_video(tmp_path):
    small = ["--sample_size", "64", "48", "--video_size", "64", "48", "--video_frames", "6"]
    picture, video = tmp_path / "sample.jpg", tmp_path / "move.mp4"
    done = run_script("--sample", str(picture), "--video", str(video), "--kinds", "room", *small)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(picture)).shape == (48, 64, 3)
    reader = cv2.VideoCapture(str(video))
    frames = []
    while (frame := reader.read())[0]:
        frames.append(frame[1].astype(float))
    assert len(frames) == 6 and frames[0].shape == (48, 64, 3)
    moved = [np.abs(after - before).mean() for before, after in itertools.pairwise(frames)]
    assert max(moved) > 0.5 and max(moved) < 60  # it moves, and never jumps to something else
