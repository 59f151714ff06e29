"""run_image.py without a window: which files it writes, and what is in them."""

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.demo import model as demo_model
from lib.demo.colour import colour_table
from lib.demo.options import RESULT_FILES
from lib.demo.pictures import find_pictures, read_picture
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth

from .conftest import make_picture
from .image_script import SIZE, command_line, names, run, write_picture

ALL_KINDS = list(RESULT_FILES)


def expected_depth(weights: Path, picture: Path, **sizing) -> np.ndarray:
    _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights)
    return predict_depth(dpt_model, dpt_imgproc, read_picture(picture), **sizing).depth


def sidecar(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def png_text(path: Path) -> dict[str, str]:
    """The tEXt entries of a PNG whose every chunk has the right checksum."""
    data, position, text = path.read_bytes(), 8, {}
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        if kind == b"tEXt":
            keyword, value = body.split(b"\0")
            text[keyword.decode()] = value.decode()
        position += 12 + length
    assert kind == b"IEND"
    return text


def test_every_kind_of_file(small_file, tmp_path):
    picture = write_picture(tmp_path / "in" / "photo.png")
    out = tmp_path / "out"
    assert run(small_file, picture, out, "--save", *ALL_KINDS) == 0
    suffixes = [*RESULT_FILES.values(), ".json"]
    assert names(out) == {f"photo{suffix}" for suffix in suffixes}

    depth = np.load(out / "photo_depth.npy")
    assert depth.dtype == np.float32 and depth.shape == (60, 80)
    assert np.array_equal(depth, expected_depth(small_file, picture, max_side_length=SIZE))

    facts, text = sidecar(out / "photo.json"), png_text(out / "photo_depth16.png")
    codes = cv2.imread(str(out / "photo_depth16.png"), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16 and codes.shape == depth.shape and codes.min() == 0 and codes.max() == 65535
    for scale, offset in ((facts["scale"], facts["offset"]), (float(text["scale"]), float(text["offset"]))):
        assert np.abs(codes * scale + offset - depth).max() <= 0.5001 * scale

    header, rows = (out / "photo.pfm").read_bytes().split(b"-1.0\n", 1)
    assert header == b"Pf\n80 60\n"
    assert np.array_equal(np.frombuffer(rows, "<f4").reshape(60, 80)[::-1], depth)
    assert np.array_equal(cv2.imread(str(out / "photo.pfm"), cv2.IMREAD_UNCHANGED), depth)

    colour = cv2.imread(str(out / "photo_colour.png"))
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    assert np.array_equal(colour[row, column], colour_table("inferno")[-1])
    side = cv2.imread(str(out / "photo_side.png"))
    assert np.array_equal(side[:, :80], read_picture(picture)) and np.array_equal(side[:, -80:], colour)

    assert facts["quantity"] == "inverse depth" and facts["nearest_is_largest"] is True
    assert facts["value_range"] == [0.0, None] and facts["picture"] == "photo.png"
    assert facts["picture_size"] == {"height": 60, "width": 80}
    assert facts["network_size"] == {"height": 84, "width": 112}
    assert facts["model"] and facts["weights"] == small_file.name
    assert (facts["min"], facts["max"]) == (depth.min(), depth.max()) and facts["not_finite"] == 0


def test_default_kinds(small_file, tmp_path):
    assert run(small_file, write_picture(tmp_path / "a.png"), tmp_path / "out") == 0
    assert names(tmp_path / "out") == {"a_depth.npy", "a_depth16.png", "a_colour.png", "a.json"}


def test_metric_model_says_metres(monkeypatch, weight_file, tmp_path):
    weights = weight_file("tiny_depth_anything_v2_metric_vkitti")
    picture = write_picture(tmp_path / "street.jpg")
    options = ["-m", weights, "-d", "cpu", "-b", SIZE, "--model_type", "depth-anything-v2-metric-vkitti"]
    assert command_line("-i", picture, "-o", tmp_path / "out", *options) == 0
    facts, depth = sidecar(tmp_path / "out" / "street.json"), np.load(tmp_path / "out" / "street_depth.npy")
    assert facts["quantity"] == "metres" and facts["value_range"] == [0.0, 80.0]
    assert facts["nearest_is_largest"] is False
    colour = cv2.imread(str(tmp_path / "out" / "street_colour.png"))
    row, column = np.unravel_index(depth.argmin(), depth.shape)
    assert np.array_equal(colour[row, column], colour_table("inferno")[-1])  # near is bright here too


def test_batches_give_the_same_maps(small_file, tmp_path):
    sizes = [(60, 80), (60, 80), (80, 60), (61, 80), (60, 80), (40, 40)]
    for number, (height, width) in enumerate(sizes):
        write_picture(tmp_path / "in" / f"{number}.png", make_picture(height, width, seed=number))
    assert run(small_file, tmp_path / "in", tmp_path / "one", "--save", "npy") == 0
    assert run(small_file, tmp_path / "in", tmp_path / "three", "--save", "npy", "--batch_size", 3) == 0
    assert names(tmp_path / "one") == names(tmp_path / "three") and len(names(tmp_path / "one")) == 2 * len(sizes)
    for number in range(len(sizes)):
        one, three = (np.load(tmp_path / folder / f"{number}_depth.npy") for folder in ("one", "three"))
        assert one.shape == sizes[number]
        np.testing.assert_allclose(three, one, atol=1e-4 * one.std())


def test_square_and_plain_attention_and_no_cache(small_file, tmp_path):
    picture = write_picture(tmp_path / "a.png")
    assert run(small_file, picture, tmp_path / "out", "--square", "-z", "-nc", "-f32", "--save", "npy") == 0
    expected = expected_depth(small_file, picture, max_side_length=SIZE, use_square_sizing=True)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a_depth.npy"), expected, atol=1e-4 * expected.std())
    assert sidecar(tmp_path / "out" / "a.json")["network_size"] == {"height": SIZE, "width": SIZE}


def test_options_reach_the_model(small_file, tmp_path, monkeypatch):
    calls = []

    def make(*arguments, **options):
        calls.append(options)
        return make_dpt_from_state_dict(*arguments, **options)

    monkeypatch.setattr(demo_model, "make_dpt_from_state_dict", make)
    picture = write_picture(tmp_path / "a.png")
    assert run(small_file, picture, tmp_path / "out") == 0
    assert run(small_file, picture, tmp_path / "out", "-nc", "-z", "--model_type", "depth-anything-v1") == 0
    assert calls == [
        {"enable_cache": True, "enable_optimizations": True, "model_type": None},
        {"enable_cache": False, "enable_optimizations": False, "model_type": "depth-anything-v1"},
    ]


def test_folders_are_kept_and_other_files_ignored(small_file, tmp_path, capsys):
    photos = tmp_path / "photos"
    for name in ("a.png", "sub/a.png", "sub/deep er/b.JPG", ".hidden/c.png", "sub/.d.png"):
        write_picture(photos / name)
    (photos / "notes.txt").write_text("no picture")
    assert run(small_file, photos, tmp_path / "out", "--save", "npy") == 0
    stems = ("a", "sub/a", "sub/deep er/b")
    assert names(tmp_path / "out") == {stem + suffix for stem in stems for suffix in ("_depth.npy", ".json")}
    captured = capsys.readouterr()
    assert "3 done, 0 skipped" in captured.out and "Skipped" not in captured.err


def test_same_stems_get_results_of_their_own(small_file, tmp_path):
    photos = tmp_path / "photos"
    first = write_picture(photos / "a.png", make_picture(60, 80, seed=1))
    second = write_picture(photos / "a.bmp", make_picture(60, 80, seed=2))
    write_picture(photos / "A.tiff", make_picture(60, 80, seed=3))
    assert run(small_file, photos, tmp_path / "out", "--save", "npy") == 0
    out = tmp_path / "out"
    assert {name for name in names(out) if name.endswith(".npy")} == {
        "a_png_depth.npy",
        "a_bmp_depth.npy",
        "A_tiff_depth.npy",
    }
    for name, picture in (("a_png", first), ("a_bmp", second)):
        expected = expected_depth(small_file, picture, max_side_length=SIZE)
        assert np.array_equal(np.load(out / f"{name}_depth.npy"), expected)


@pytest.mark.parametrize("output", ["photos/out", "photos", "."])
def test_former_results_are_no_pictures(small_file, tmp_path, monkeypatch, output):
    write_picture(tmp_path / "photos" / "a.png")
    write_picture(tmp_path / "photos" / "my_colour.png")  # named like a result, and none
    monkeypatch.chdir(tmp_path)
    assert run(small_file, "photos", Path(output), "--save", *ALL_KINDS) == 0
    before = names(tmp_path)
    assert run(small_file, "photos", Path(output), "--save", *ALL_KINDS) == 0
    assert run(small_file, "photos/*.png", Path(output), "--save", *ALL_KINDS) == 0
    assert names(tmp_path) == before
    assert len({name for name in before if name.endswith(".npy")}) == 2


def test_the_output_folder_is_not_searched(small_file, tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    out = tmp_path / "in" / "results"
    assert run(small_file, tmp_path / "in", out) == 0
    (out / "a.json").unlink()  # nothing tells any more that the files beside it are results
    assert [file.path.name for file in find_pictures([str(tmp_path / "in")], excluded_folder=str(out))] == ["a.png"]
    assert len(find_pictures([str(tmp_path / "in")])) == 3


def test_files_of_others_are_not_overwritten(small_file, tmp_path, capsys):
    write_picture(tmp_path / "a.jpg")
    labels = tmp_path / "a.json"
    labels.write_text('{"label": "elephant"}')
    assert run(small_file, tmp_path, tmp_path) == 1
    assert str(labels) in capsys.readouterr().err and labels.read_text() == '{"label": "elephant"}'
    assert names(tmp_path) == {"a.jpg", "a.json"}


def test_paths_beyond_ascii(small_file, tmp_path):
    picture = write_picture(tmp_path / "Füße 深度" / "日本 é.png")
    assert run(small_file, picture.parent, tmp_path / "Ergebnis ö", "--save", *ALL_KINDS) == 0
    assert "日本 é_depth16.png" in names(tmp_path / "Ergebnis ö")
    assert sidecar(tmp_path / "Ergebnis ö" / "日本 é.json")["picture"] == "日本 é.png"


def test_grey_alpha_and_16_bits(small_file, tmp_path):
    image = make_picture(60, 80)
    variants = {
        "plain.png": image,
        "wide.png": image.astype(np.uint16) * 257,
        "alpha.png": np.dstack([image, np.full((60, 80), 7, np.uint8)]),
        "grey.png": image[..., 1],
        "grey16.tiff": image[..., 1].astype(np.uint16) * 257,
    }
    for name, variant in variants.items():
        write_picture(tmp_path / "in" / name, variant)
    assert run(small_file, tmp_path / "in", tmp_path / "out", "--save", "npy", "side") == 0
    maps = {name: np.load(tmp_path / "out" / f"{Path(name).stem}_depth.npy") for name in variants}
    np.testing.assert_allclose(maps["wide.png"], maps["plain.png"], atol=1e-3 * maps["plain.png"].std())
    assert np.array_equal(maps["alpha.png"], maps["plain.png"])
    np.testing.assert_allclose(maps["grey16.tiff"], maps["grey.png"], atol=1e-3 * maps["grey.png"].std())
    assert np.abs(maps["grey.png"] - maps["plain.png"]).max() > 0
    side = cv2.imread(str(tmp_path / "out" / "wide_side.png"))  # 16 bits look right, too
    assert side.dtype == np.uint8 and np.array_equal(side[:, :80], image)
