"""Every layout of data set, written here in small, whole and broken."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from experiments.datasets import DATASET_KINDS, SampleError, open_dataset
from experiments.protocols import DEFAULT_PROTOCOLS
from experiments.truth_files import load_array, to_metres
from lib.errors import UserError

from .conftest import make_picture
from .dataset_files import make_depth, write_image, write_rgbd, write_rgbd_set

UNITS = np.array([[0, 51, 255], [1, 2, 3]])  # as stored; 0 is not measured


def write_nyu(root: Path, rows: list[str], *, split: str = "test", newline: str = "\r\n") -> Path:
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / f"nyu2_{split}.csv").write_bytes((newline.join(rows) + newline).encode())
    return root


def write_pair(root: Path, name: str, units: np.ndarray) -> str:
    """A picture and its depth below root/data, and the csv row that names them."""
    write_image(root / "data" / f"{name}.jpg", make_picture(*units.shape))
    write_image(root / "data" / f"{name}.png", units)
    return f"data/{name}.jpg,data/{name}.png"


def same(depth: np.ndarray, expected: list) -> bool:
    return depth.dtype == np.float32 and np.allclose(depth, np.array(expected), rtol=1e-6, equal_nan=True)


NAN = float("nan")


# NYU


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_nyu_training_is_8_bit_and_255_is_ten_metres(tmp_path, newline):
    rows = [
        write_pair(tmp_path, "scène_out/1", UNITS.astype(np.uint8)),
        "",
        write_pair(tmp_path, "b", UNITS.astype(np.uint8)),
    ]
    write_nyu(tmp_path, rows, split="train", newline=newline)
    for path in (tmp_path, tmp_path / "data"):
        dataset = open_dataset("nyu", path, split="train")
        assert dataset.names == ["data/scène_out/1.jpg", "data/b.jpg"] and dataset.problems == []
        sample = dataset[0]
        assert sample.image_bgr.shape == (2, 3, 3) and sample.image_bgr.dtype == np.uint8
        assert same(sample.depth, [[NAN, 2, 10], [10 / 255, 20 / 255, 30 / 255]])


def test_nyu_test_is_16_bit_millimetres(tmp_path):
    write_nyu(tmp_path, [write_pair(tmp_path, "00000", UNITS.astype(np.uint16))])
    assert same(open_dataset("nyu", tmp_path)[0].depth, [[NAN, 0.051, 0.255], [0.001, 0.002, 0.003]])


def test_nyu_rows_that_make_no_sense_are_named(tmp_path):
    good = write_pair(tmp_path, "a", UNITS.astype(np.uint8))
    rows = ["\ufeff" + good, "data/a.jpg", "a,b,c", ",data/a.png", "data/a.jpg,data/gone.png", "gone.jpg,data/a.png"]
    dataset = open_dataset("nyu", write_nyu(tmp_path, rows))
    assert len(dataset) == 1 and len(dataset.problems) == 5
    for line, problem in enumerate(dataset.problems, start=2):
        assert f"nyu2_test.csv:{line}:" in problem
    assert "gone.png" in dataset.problems[3] and "gone.jpg" in dataset.problems[4]


def test_a_csv_of_nonsense_is_refused(tmp_path):
    write_nyu(tmp_path, [])
    (tmp_path / "data" / "nyu2_test.csv").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(UserError, match="nyu2_test.csv|no pictures with truth"):
        open_dataset("nyu", tmp_path)
    with pytest.raises(UserError, match="nyu2_train.csv: cannot be read"):
        open_dataset("nyu", tmp_path, split="train")


# Folder


def test_a_folder_with_images_and_depths(tmp_path):
    write_image(tmp_path / "images" / "sub" / "größe 1.png", make_picture(2, 3))
    write_image(tmp_path / "depths" / "sub" / "größe 1.png", UNITS.astype(np.uint16))
    write_image(tmp_path / "images" / "b.jpg", make_picture(4, 6))
    np.save(tmp_path / "depths" / "b.npy", np.array([[1.0, np.inf, -2], [np.nan, 0, 3]]))
    write_image(tmp_path / "images" / "lonely.jpg", make_picture(2, 3))
    write_image(tmp_path / "depths" / "orphan.png", UNITS.astype(np.uint8))
    dataset = open_dataset("folder", tmp_path, scale=0.5)
    assert dataset.names == ["b.jpg", "sub/größe 1.png"]
    assert same(dataset[0].depth, [[0.5, NAN, NAN], [NAN, NAN, 1.5]])  # half the picture's size, as it is stored
    assert same(dataset[1].depth, [[NAN, 25.5, 127.5], [0.5, 1, 1.5]])
    assert ["lonely" in problem or "orphan" in problem for problem in dataset.problems] == [True, True]


def test_a_folder_with_everything_side_by_side(tmp_path):
    for name in ("a.jpg", "b.png"):
        write_image(tmp_path / "test" / name, make_picture(2, 3))
        write_image(tmp_path / "test" / f"{name[0]}_depth.png", UNITS.astype(np.uint8))
    (tmp_path / "scale.json").write_text('{"scale": 0.1}')
    dataset = open_dataset("folder", tmp_path)
    assert dataset.names == ["a.jpg", "b.png"] and dataset.problems == []
    assert same(dataset[1].depth, [[NAN, 5.1, 25.5], [0.1, 0.2, 0.3]])


@pytest.mark.parametrize(
    "content", [None, "{}", '{"scale": "x"}', '{"scale": 0}', '{"scale": true}', "NaN", "[1]", "{"]
)
def test_a_folder_without_a_scale_is_refused(tmp_path, content):
    write_image(tmp_path / "a.jpg", make_picture(2, 3))
    write_image(tmp_path / "a_depth.png", UNITS.astype(np.uint8))
    if content is not None:
        (tmp_path / "scale.json").write_text(content)
    with pytest.raises(UserError, match="scale"):
        open_dataset("folder", tmp_path)


# KITTI


def test_kitti_by_an_eigen_list(tmp_path):
    write_image(tmp_path / "raw" / "date" / "1.png", make_picture(2, 3))
    write_image(tmp_path / "gt" / "drive" / "1.png", (UNITS * 256).astype(np.uint16))
    lines = [
        "date/1.png drive/1.png 721.5377",
        "date/1.png None 721.5377",
        "",
        "date/1.png",
        "date/1.png drive/1.png x",
    ]
    lines += ["date/2.png drive/1.png 721.5377"]
    (tmp_path / "eigen_test.txt").write_text("\n".join(lines))
    roots = {"picture_root": tmp_path / "raw", "depth_root": tmp_path / "gt"}
    for path in (tmp_path, tmp_path / "eigen_test.txt"):
        dataset = open_dataset("kitti", path, **roots)
        assert same(dataset[0].depth, [[NAN, 51, 255], [1, 2, 3]])
        assert len(dataset) == 1 and len(dataset.problems) == 3 and "1 lines without truth" in dataset.remarks[0]
    with pytest.raises(UserError, match="expected one list with 'train'"):
        open_dataset("kitti", tmp_path, split="train", **roots)


# DIODE


def write_diode(folder: Path, stem: str, depth: np.ndarray, mask: np.ndarray) -> None:
    write_image(folder / f"{stem}.png", make_picture(4, 6))
    np.save(folder / f"{stem}_depth.npy", depth)
    np.save(folder / f"{stem}_depth_mask.npy", mask)


def test_diode(tmp_path):
    scan = tmp_path / "val" / "indoors" / "scene_00019" / "scan_00183"
    depth = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    mask = np.ones((4, 6))
    mask[3] = 0
    write_diode(scan, "00019_00183_indoors_000_010", depth, mask)
    write_diode(scan, "bad_mask", depth, mask[:3])
    np.save(scan / "no_mask_depth.npy", depth)
    for path in (tmp_path, tmp_path / "val", tmp_path / "val" / "indoors"):
        dataset = open_dataset("diode", path)
        assert len(dataset) == 2 and "no_mask" in dataset.problems[0]
    sample = dataset[0]
    assert np.isnan(sample.depth[3]).all() and np.isnan(sample.depth[0, 0])
    assert sample.depth[2].tolist() == [12, 13, 14, 15, 16, 17]
    with pytest.raises(SampleError, match=r"bad_mask_depth_mask.npy: its size \(3, 6\)"):
        dataset[1]


# Folders with meta.json


def test_rgbd(tmp_path):
    depth = make_depth()
    one = write_rgbd(tmp_path, "one", depth=depth)
    write_rgbd(tmp_path, "two", depth=depth, image=make_picture(96, 128), meta={"scale": 0.002})
    for path in (tmp_path, one):
        dataset = open_dataset("rgbd", path)
        assert np.nanmax(np.abs(dataset[0].depth - depth)) <= 0.00051
        assert np.array_equal(np.isnan(dataset[0].depth), np.isnan(depth))
    dataset = open_dataset("rgbd", tmp_path)
    assert dataset[1].image_bgr.shape == (96, 128, 3) and dataset[1].depth.shape == (48, 64)


def test_rgbd_with_a_meta_that_makes_no_sense(tmp_path):
    write_rgbd(tmp_path, "good")
    broken = {"kind": {"kind": "disparity"}, "scale": {"scale": -1}, "gt": {"gt": 3}, "gone": {"image": "gone.png"}}
    for name, changes in broken.items():
        write_rgbd(tmp_path, name, meta=changes)
    (write_rgbd(tmp_path, "json") / "meta.json").write_text("{")
    (write_rgbd(tmp_path, "list") / "meta.json").write_text("[]")
    dataset = open_dataset("rgbd", tmp_path)
    assert dataset.names == ["good"] and len(dataset.problems) == 6
    for name in (*broken, "json", "list"):
        assert any(f"/{name}/meta.json" in problem.replace("\\", "/") for problem in dataset.problems)


# DA-2K


def test_da2k(tmp_path):
    write_image(tmp_path / "images" / "indoor" / "ä.jpg", make_picture(10, 20))
    pair = {"point1": [1, 2], "point2": [9, 19], "closer_point": "point1"}
    wrong = [{**pair, "closer_point": "both"}, {**pair, "point1": [1]}, {**pair, "point1": [True, 2]}, "text"]
    annotations = {
        "images/indoor/ä.jpg": [pair, {**pair, "closer_point": "point2"}, *wrong],
        "images/gone.jpg": [pair],
        "images/indoor/none.jpg": 3,
    }
    (tmp_path / "annotations.json").write_text(json.dumps(annotations), encoding="utf-8")
    dataset = open_dataset("da2k", tmp_path)
    assert dataset.names == ["images/indoor/ä.jpg"] and len(dataset.problems) == 6
    assert dataset[0].points.tolist() == [[[1, 2], [9, 19]], [[9, 19], [1, 2]]]
    annotations["images/indoor/ä.jpg"] = [{**pair, "point1": [10, 2]}]
    (tmp_path / "annotations.json").write_text(json.dumps(annotations), encoding="utf-8")
    with pytest.raises(SampleError, match="outside its 20 x 10 pixels"):
        open_dataset("da2k", tmp_path)[0]


# Samples that cannot be used, in any layout


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("image.png", lambda path: path.write_bytes(b""), "image.png: the file is empty"),
        ("image.png", lambda path: path.write_bytes(b"no picture"), "image.png: damaged"),
        ("gt.png", lambda path: path.write_bytes(b""), "gt.png: empty, damaged"),
        ("gt.png", lambda path: path.write_bytes(path.read_bytes()[:60]), "gt.png: "),
        (
            "gt.png",
            lambda path: write_image(path, np.zeros((48, 64), np.uint16)),
            "gt.png: no pixel with a valid depth",
        ),
        ("gt.png", lambda path: write_image(path, np.ones((64, 48), np.uint16)), "gt.png: its 48 x 64 pixels"),
        (
            "gt.png",
            lambda path: write_image(path, make_picture(48, 64)),
            "gt.png: expected depth in one channel, found 3",
        ),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(tmp_path, name, spoil, message):
    write_rgbd_set(tmp_path, 2)
    spoil(tmp_path / "01" / name)
    dataset = open_dataset("rgbd", tmp_path)
    assert len(dataset) == 2 and dataset[0].name == "00"
    with pytest.raises(SampleError, match=message):
        dataset[1]


def test_arrays_that_are_no_maps_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    for array in (
        np.zeros(3),
        np.zeros((2, 2, 2)),
        np.array([["a"]]),
        np.zeros((2, 2), complex),
        np.array([{}], object),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(SampleError, match="a.npy"):
            load_array(path)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(SampleError, match="a.npy"):
        load_array(path)


def test_numbers_that_metres_cannot_be():
    raw = np.array([[1e300, np.inf, -1.0], [np.nan, 1e-300, 2.0]])
    assert same(to_metres(raw, 2.0), [[NAN, NAN, NAN], [NAN, NAN, 4]])


def test_a_picture_of_16_bits_becomes_8(tmp_path):
    sample = write_rgbd(tmp_path, "one")
    image = make_picture(48, 64)
    write_image(sample / "image.png", image.astype(np.uint16) * 257)
    assert np.array_equal(open_dataset("rgbd", tmp_path)[0].image_bgr, image)


# The sequence itself


def test_a_data_set_is_a_sequence_that_can_travel(tmp_path):
    dataset = pickle.loads(pickle.dumps(open_dataset("rgbd", write_rgbd_set(tmp_path, 3))))
    assert [sample.name for sample in dataset] == ["00", "01", "02"] == dataset.names
    assert dataset[-1].name == "02"
    with pytest.raises(IndexError):
        dataset[3]


def test_samples_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    dataset = open_dataset("rgbd", write_rgbd_set(tmp_path, 3))
    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decoded.append(1) or np.ones((48, 64, 3), np.uint8))
    with pytest.raises(SampleError):
        dataset[0]
    assert len(decoded) == 2


def test_arguments_that_make_no_sense_are_refused(tmp_path):
    write_rgbd_set(tmp_path, 1)
    for arguments, message in (
        ({"kind": "coco", "path": tmp_path}, "expected one of nyu"),
        ({"kind": "rgbd", "path": tmp_path / "gone"}, "no such file"),
        ({"kind": "rgbd", "path": tmp_path, "split": "val"}, "unknown split"),
        ({"kind": "rgbd", "path": tmp_path, "scale": 0.1}, "scale: not an option"),
        ({"kind": "diode", "path": tmp_path}, "no pictures with truth in the layout 'diode'"),
    ):
        with pytest.raises(UserError, match=message):
            open_dataset(**arguments)


def test_every_kind_has_a_protocol():
    assert set(DATASET_KINDS) == set(DEFAULT_PROTOCOLS)
    assert all(protocol.dataset == kind for kind, protocol in DEFAULT_PROTOCOLS.items())
