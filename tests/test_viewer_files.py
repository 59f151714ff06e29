"""run_3dviewer.py without a server: the files that it writes open elsewhere and hold the right points and colours."""

import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

import run_3dviewer
from experiments.procedural_scenes import render_scenes
from lib.demo import viewer_export, viewer_tone
from lib.demo.frames import open_frames
from lib.demo.geometry import DepthRange
from lib.demo.pictures import PictureFile, read_picture
from lib.demo.script import run_script
from lib.demo.viewer_export import EXPORT_FORMATS, export_bytes, export_targets
from lib.demo.viewer_inputs import DepthService, focal_from_exif, read_mask, read_still
from lib.demo.viewer_render import Pose, draw_points, draw_turntable
from lib.demo.viewer_scene import DEPTH, NORMALS, POINTS, Settings, Shot, colours_of, metres_of, shrink
from lib.errors import PictureError
from lib.predict import DepthMap

from .conftest import make_picture
from .image_script import SIZE, names, write_picture
from .test_run_image import png_text
from .viewer_stub import METRIC, StubModel, depth_of, shot_of

SETTINGS = Settings(focal=70.0, edge=0.5)


def command_line(*arguments: object) -> int:
    """The exit code of run_3dviewer.py with these arguments, in this process."""
    return run_script(run_3dviewer.main, run_3dviewer.parse_args([str(argument) for argument in arguments]))


def run(weights: Path, pictures: object, *more: object) -> int:
    return command_line("-i", pictures, "-m", weights, "-d", "cpu", "-b", SIZE, *more)


def opened(data: bytes, file_format: str):
    """What trimesh makes of a file: one mesh or point cloud."""
    loaded = trimesh.load(io.BytesIO(data), file_type=file_format, process=False)
    return next(iter(loaded.geometry.values())) if isinstance(loaded, trimesh.Scene) else loaded


def test_every_pixel_is_a_vertex_with_its_colour():
    shot = shot_of()
    settings = replace(SETTINGS, edge=1.0)
    count, faces = 60 * 80, 2 * 59 * 79
    colours_rgb = shot.image_bgr.reshape(-1, 3)[:, ::-1]
    points = opened(export_bytes(shot, settings, "ply"), "ply")
    assert points.vertices.shape == (count, 3)
    np.testing.assert_array_equal(points.colors[:, :3], colours_rgb)
    mesh = opened(export_bytes(shot, settings, "obj"), "obj")
    assert mesh.vertices.shape == (count, 3) and mesh.faces.shape == (faces, 3)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3], colours_rgb, atol=1)
    glb = opened(export_bytes(shot, settings, "glb"), "glb")
    assert glb.vertices.shape == (count, 3) and glb.faces.shape == (faces, 3)
    for other in (mesh, glb):
        np.testing.assert_allclose(other.vertices, points.vertices, atol=1e-6)


def test_the_texture_lies_where_the_picture_does():
    shot = shot_of()
    smooth = cv2.GaussianBlur(shot.image_bgr, (0, 0), 3)  # so that JPEG keeps it
    glb = opened(export_bytes(replace(shot, image_bgr=smooth), replace(SETTINGS, edge=1.0), "glb"), "glb")
    texture = np.asarray(glb.visual.material.baseColorTexture.convert("RGB"))
    assert texture.shape == (60, 80, 3)
    uv = np.asarray(glb.visual.uv)  # trimesh counts v from the bottom
    columns, rows = uv[:, 0] * 80 - 0.5, (1 - uv[:, 1]) * 60 - 0.5
    np.testing.assert_allclose(rows, np.repeat(np.arange(60), 80), atol=1e-3)
    np.testing.assert_allclose(columns, np.tile(np.arange(80), 60), atol=1e-3)
    seen = texture[np.rint(rows).astype(int), np.rint(columns).astype(int)].astype(int)
    assert np.abs(seen - smooth.reshape(-1, 3)[:, ::-1]).mean() < 4


def test_glb_says_that_its_material_is_unlit():
    data = export_bytes(shot_of(), SETTINGS, "glb")
    magic, version, length, json_length = struct.unpack("<4sIII", data[:16])
    assert magic == b"glTF" and version == 2 and length == len(data)
    tree = json.loads(data[20 : 20 + json_length])
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert [material["extensions"] for material in tree["materials"]] == [{"KHR_materials_unlit": {}}]
    assert tree["images"][0]["mimeType"] == "image/jpeg"


def test_exported_points_of_a_rendered_scene_are_the_true_ones():
    """From the renderer's picture to a file to trimesh: every point within a thousandth, and a floor that is flat."""
    batch = render_scenes([6], 90, 120, kinds=["room"])
    depth = batch.depth[0].numpy()
    image_bgr = (batch.images_rgb[0].flip(0).permute(1, 2, 0) * 255).byte().numpy()
    shot = Shot(image_bgr, DepthMap(depth, "metres", False, (0.0, 100.0)), (0.0, 1.0))
    settings = Settings(depth_range=DepthRange(0.01, 1000), focal=float(batch.cameras.fx[0]), edge=1.0)
    world = batch.cameras.unproject(batch.depth)[0].numpy().astype(np.float64)
    rotation, position = batch.cameras.rotation[0].numpy(), batch.cameras.position[0].numpy()
    for file_format in ("ply", "obj", "glb"):
        vertices = np.asarray(opened(export_bytes(shot, settings, file_format), file_format).vertices)
        found = (vertices * [1, -1, -1]) @ rotation.T + position
        error = np.linalg.norm(found - world.reshape(-1, 3), axis=1) / depth.ravel()
        assert error.max() < 1e-3, file_format
        floor = found[np.abs(world[..., 2].ravel()) < 1e-4]
        assert len(floor) > 1000 and np.abs(floor[:, 2]).max() < 1e-3, file_format


def test_depth_files_hold_metres(tmp_path):
    shot = shot_of(output=METRIC)
    shot.depth_map.depth[3, 4] = np.nan
    metres = metres_of(shot, SETTINGS)
    stored = np.load(io.BytesIO(export_bytes(shot, SETTINGS, "npy")))
    np.testing.assert_array_equal(stored, metres)
    data = export_bytes(shot, SETTINGS, "png")
    codes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16 and codes[3, 4] == 0 and (codes == 0).sum() == (~np.isfinite(metres)).sum()
    (tmp_path / "depth.png").write_bytes(data)
    text = png_text(tmp_path / "depth.png")
    decoded = codes * float(text["scale"]) + float(text["offset"])
    known = np.isfinite(metres)
    assert np.abs(decoded - metres)[known].max() <= 0.51 * float(text["scale"])


def test_a_smaller_copy_is_the_same_scene():
    shot = shot_of(480, 640)
    small = shrink(shot, 5)
    assert small.image_bgr.shape == (96, 128, 3)
    settings = replace(SETTINGS, focal=600.0, edge=1.0)
    whole, part = (opened(export_bytes(one, settings, "ply"), "ply").bounds for one in (shot, small))
    np.testing.assert_allclose(part, whole, rtol=0.03)  # its outermost points are two pixels further in


@pytest.mark.parametrize("colour_by", [DEPTH, NORMALS])
def test_other_colours(colour_by):
    shot = shot_of()
    settings = replace(SETTINGS, colour_by=colour_by)
    colours = colours_of(shot, settings, metres_of(shot, settings))
    assert colours.shape == shot.image_bgr.shape and colours.dtype == np.uint8
    assert not np.array_equal(colours, shot.image_bgr)
    box, floor = colours[30, 40].astype(int), colours[55, 10].astype(int)
    assert np.abs(box - floor).max() > 20  # the box is nearer and faces the camera
    if colour_by == NORMALS:
        assert box[0] > 220 and floor[1] > 160  # blue: towards the viewer; green: upwards


def test_export_from_the_command_line(small_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "room.png", make_picture(60, 80))
    outputs = [tmp_path / "new folder" / f"room.{file_format}" for file_format in EXPORT_FORMATS]
    shot = tmp_path / "shot.png"
    assert run(small_file, picture, "--export", *outputs, "--screenshot", shot, "--near", 1, "--far", 4) == 0
    assert {path.name for path in outputs} == names(tmp_path / "new folder")
    points = opened(outputs[1].read_bytes(), "ply")
    assert points.vertices[:, 2].max() == pytest.approx(-1, abs=1e-3) and points.vertices[:, 2].min() >= -4.001
    drawn = read_picture(shot)
    assert drawn.shape == (60, 80, 3) and drawn.std() > 10
    assert capsys.readouterr().out.count("Wrote") == len(EXPORT_FORMATS) + 1


def test_several_pictures_go_into_a_folder(small_file, tmp_path, capsys):
    pictures = tmp_path / "in"
    for name in ("a.png", "sub/b.png"):
        write_picture(pictures / name)
    (pictures / "broken.jpg").write_bytes(b"no picture")
    assert run(small_file, pictures, "--export", tmp_path / "out.ply") == 1
    assert names(tmp_path / "out") == {"a.ply", "sub/b.ply"}
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err and "2 done, 1 skipped" in captured.out


def test_a_mask_leaves_the_rest_out(small_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "a.png", make_picture(60, 80))
    mask = np.zeros((30, 40), np.uint8)  # half the size: scaled
    mask[10:20, 10:30] = 255
    masks = tmp_path / "masks"
    write_picture(masks / "a.png", mask)
    for place in (masks, masks / "a.png"):
        assert run(small_file, picture, "-k", place, "--edge", 1, "--export", tmp_path / "a.ply") == 0
        assert len(opened((tmp_path / "a.ply").read_bytes(), "ply").vertices) == 20 * 40
    write_picture(masks / "b.png", mask * 0)
    write_picture(masks / "tall.png", np.zeros((80, 60), np.uint8))
    capsys.readouterr()
    for name, words in (("b.png", "nothing is left"), ("tall.png", "same shape"), ("none.png", "mask cannot be read")):
        assert run(small_file, picture, "-k", masks / name, "--export", tmp_path / "b.ply") == 1
        errors = capsys.readouterr().err
        assert words in errors and "Traceback" not in errors and not (tmp_path / "b.ply").exists()


def test_a_region_stays_where_it_was_in_the_whole_picture(tmp_path):
    path = write_picture(tmp_path / "a.png", make_picture(60, 80))
    mask = np.zeros((60, 80), np.uint8)
    mask[:, :30] = 255
    masked = write_picture(tmp_path / "masks" / "a.png", mask)
    region = (20, 10, 40, 30)
    still = read_still(PictureFile(path, Path("a.png")), mask_path=str(masked), region=region)
    assert still.image_bgr.shape == (30, 40, 3) and still.full_wh == (80, 60) and still.mask.sum() == 30 * 10
    whole = depth_of(read_picture(path), METRIC)
    part = replace(still, mask=None).shot(replace(whole, depth=np.ascontiguousarray(whole.depth[10:40, 20:60])))
    settings = replace(SETTINGS, edge=1.0)
    points = opened(export_bytes(Shot(read_picture(path), whole, (0.0, 1.0)), settings, "ply"), "ply").vertices
    expected = np.asarray(points).reshape(60, 80, 3)[10:40, 20:60].reshape(-1, 3)
    np.testing.assert_allclose(opened(export_bytes(part, settings, "ply"), "ply").vertices, expected, rtol=1e-5, atol=1e-6)


def test_masks_with_an_alpha_channel(tmp_path):
    image = np.zeros((6, 8, 4), np.uint8)
    image[2:4, :, 3] = 255
    assert read_mask(write_picture(tmp_path / "m.png", image), (6, 8)).sum() == 16
    image[..., 3], image[0, ..., 1] = 255, 255  # opaque everywhere: then brightness counts
    assert read_mask(write_picture(tmp_path / "m.png", image), (6, 8)).sum() == 8


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--export", "room.stl"], ".glb, .ply, .obj"),
        (["--turntable", "room.avi"], ".mp4"),
        (["--near", "3", "--far", "2", "--export", "a.glb"], "near to be smaller"),
        (["--near", "-1"], "above zero"),
        (["--fov", "180"], "below 179"),
        (["--port", "0"], "1 to 65535"),
        (["--use_webcam", "--export", "a.glb"], "pictures"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(small_file, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    inputs = [] if "--use_webcam" in arguments else ["-i", write_picture(tmp_path / "a.png")]
    assert command_line(*inputs, "-m", small_file, "-d", "cpu", "-b", SIZE, *arguments) == 1
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1
    assert names(tmp_path) <= {"a.png"}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-i", "a.png", "--export", "a.png"], "a.png: this is the input"),
        (["-i", "a.png", "--screenshot", "../in/a.png"], "a.png: this is the input"),
        (["-i", "a.png", "-k", "b.png", "--screenshot", "b.png"], "b.png: this is the input"),
        (["-i", ".", "--export", "../in.png"], "a.png: this is the input"),
        (["-i", "a.png", "--export", "c.png", "--screenshot", "c.png"], "c.png: two results"),
    ],
)
def test_no_input_is_overwritten(small_file, tmp_path, capsys, monkeypatch, arguments, words):
    before = {name: write_picture(tmp_path / "in" / name).read_bytes() for name in ("a.png", "b.png")}
    monkeypatch.chdir(tmp_path / "in")
    assert command_line("-m", small_file, "-d", "cpu", "-b", SIZE, *arguments) == 1
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_targets():
    assert export_targets("x/room.glb", [Path("a.png")]) == [Path("x/room.glb")]
    assert export_targets("x/room.obj", [Path("a.png"), Path("a.jpg")]) == [Path("x/room/a_png.obj"), Path("x/room/a_jpg.obj")]


def test_turntable_swings_around_the_scene():
    shot = shot_of(90, 120)
    frames = list(draw_turntable(shot, replace(SETTINGS, focal=100.0), frames=8))
    assert all(frame.shape == (90, 120, 3) for frame in frames)
    difference = [np.abs(frame.astype(int) - frames[0]).mean() for frame in frames]
    assert difference[0] == 0 and min(difference[1:4]) > 3 and min(difference[5:]) > 3
    inside = np.s_[10:-10, 10:-10]  # from its own place, the picture is what is seen
    assert np.abs(frames[0][inside].astype(int) - shot.image_bgr[inside]).mean() < 25


def test_the_turntable_is_a_video(tmp_path, monkeypatch):
    monkeypatch.setattr(viewer_export, "TURNTABLE_SECONDS", 1)
    path = tmp_path / "swing.mp4"
    viewer_export.write_turntable(path, shot_of(), SETTINGS)
    with open_frames(path) as video:
        frames = [frame.image_bgr for frame in video]
    assert len(frames) == viewer_export.TURNTABLE_RATE and frames[0].shape == (60, 80, 3)
    assert np.abs(frames[6].astype(int) - frames[0]).mean() > 3 and names(tmp_path) == {"swing.mp4"}


def test_nearer_points_cover_farther_ones():
    points = np.float32([[0, 0, -4], [0, 0, -2], [1, 0, -2], [0, 0, 3]])
    colours = np.uint8([[0, 0, 255], [0, 255, 0], [255, 0, 0], [255, 255, 255]])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        drawn = draw_points(points[order], colours[order], Pose(), focal=20, size_wh=(60, 40), spacing=0.1)
        assert tuple(drawn[20, 30]) == (0, 255, 0) and tuple(drawn[20, 40]) == (255, 0, 0)
        assert not (drawn == 255).all(axis=-1).any()  # what is behind the camera
    turned = draw_points(points, colours, Pose(yaw=30, pivot=2.0), focal=20, size_wh=(60, 40), spacing=0.1)
    assert tuple(turned[20, 30]) == (0, 255, 0)  # the pivot stays, the farther point comes out from behind it
    assert (turned == (0, 0, 255)).all(axis=-1).any()


def test_a_turntable_of_points_has_no_mesh_between_them():
    shot = shot_of(60, 80)
    mesh, points = (
        next(iter(draw_turntable(shot, replace(SETTINGS, shape=shape), frames=4))) for shape in (SETTINGS.shape, POINTS)
    )
    assert mesh.shape == points.shape


def write_exif(path: Path, tags: dict[int, object]) -> Path:
    from PIL import Image

    image = Image.new("RGB", (400, 300))
    exif = image.getexif()
    exif.get_ifd(0x8769).update(tags)
    image.save(path, exif=exif)
    return path


def test_focal_length_from_exif(tmp_path):
    diagonal = np.hypot(400, 300)
    equivalent = write_exif(tmp_path / "a.jpg", {0xA405: 26, 0x920A: 4.2})
    assert focal_from_exif(equivalent, 400, 300) == pytest.approx(26 * diagonal / 43.2666, rel=1e-4)
    # 20 mm, 2000 pixels a centimetre, of a photograph that was taken with 4000 x 3000 pixels
    sensor = write_exif(tmp_path / "b.jpg", {0x920A: 20.0, 0xA20E: 2000.0, 0xA210: 3, 0xA002: 4000, 0xA003: 3000})
    assert focal_from_exif(sensor, 400, 300) == pytest.approx(20 / 10 * 2000 / 10)
    for tags in ({}, {0x920A: 20.0}, {0xA405: 0}):
        assert focal_from_exif(write_exif(tmp_path / "c.jpg", tags), 400, 300) is None
    (tmp_path / "d.jpg").write_bytes(b"\xff\xd8 nothing")
    assert focal_from_exif(tmp_path / "d.jpg", 4, 3) is None


def test_depth_is_computed_once_and_what_is_remembered_is_bounded():
    model = StubModel()
    service = DepthService(model, remembered_bytes=3 * 60 * 80 * 4)
    pictures = [make_picture(60, 80, seed=seed) for seed in range(5)]
    for _ in range(2):
        service.predict(pictures[0], key=0)
    assert model.count == 1
    service.predict(pictures[0], 280, key=0)
    assert model.count == 2 and model.sides == [None, 280]
    for number, picture in enumerate(pictures):
        service.predict(picture, key=number)
    assert service._bytes <= service.remembered_bytes and len(service._memory) == 3
    service.predict(pictures[0], key=0)
    assert model.count == 7  # the oldest was forgotten


def test_textures_for_the_page_come_out_of_the_tone_mapping_as_they_were():
    image_bgr = np.random.default_rng(0).integers(10, 240, (16, 16, 1)).astype(np.uint8).repeat(3, axis=2)
    image_bgr[:8, ..., 0] = image_bgr[:8, ..., 0] // 2 + 60  # some are not grey, as in photographs
    texture = viewer_tone.before_tone_mapping(image_bgr)
    light = viewer_tone.to_linear(texture[..., ::-1] / 255) * viewer_tone.GAIN
    seen = 255 * viewer_tone.to_srgb(viewer_tone.tone_map(light))[..., ::-1]
    assert np.abs(seen - image_bgr).max() < 9
    as_it_is = viewer_tone.to_srgb(viewer_tone.tone_map(viewer_tone.to_linear(image_bgr[..., ::-1] / 255)))
    assert np.abs(255 * as_it_is[..., ::-1] - image_bgr).max() > 15


def test_errors_while_reading_name_the_file(tmp_path):
    with pytest.raises(PictureError, match="x.png"):
        read_mask(tmp_path / "x.png", (4, 4))
