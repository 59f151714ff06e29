"""Finding pictures, reading them, and naming their results."""

import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.demo.pictures import PictureFile, find_pictures, natural_key, read_in_batches, read_picture
from lib.demo.save import plan_targets
from lib.errors import PictureError

from .conftest import make_picture
from .image_script import names, run, with_exif_orientation, write_picture


def test_patterns_and_several_paths(small_file, tmp_path, monkeypatch):
    for name in ("x/1.png", "y/1.png", "z/1.png", "y/[1].png"):
        write_picture(tmp_path / "in" / name)
    by_pattern = {file.relative.as_posix() for file in find_pictures([str(tmp_path / "in" / "[xy]" / "1.*")])}
    by_shell = find_pictures([str(tmp_path / "in" / "x" / "1.png"), str(tmp_path / "in" / "y" / "1.png")])
    assert by_pattern == {file.relative.as_posix() for file in by_shell} == {"x/1.png", "y/1.png"}
    recursive = find_pictures([str(tmp_path / "in" / "**" / "1.png")])
    assert {file.relative.as_posix() for file in recursive} == {"x/1.png", "y/1.png", "z/1.png"}
    bracket = find_pictures([str(tmp_path / "in" / "y" / "[1].png")])  # a file's name, not a pattern
    assert [file.path.name for file in bracket] == ["[1].png"]
    twice = find_pictures([str(tmp_path / "in"), str(tmp_path / "in" / "x"), str(tmp_path / "in" / "x" / "1.png")])
    assert len(twice) == 4
    monkeypatch.chdir(tmp_path / "in")
    assert [file.relative.as_posix() for file in find_pictures(["y"])] == ["1.png", "[1].png"]
    assert run(small_file, [Path("x"), Path("y/1.png")], tmp_path / "out", "--save", "npy") == 0
    assert names(tmp_path / "out") == {"x/1_depth.npy", "x/1.json", "y/1_depth.npy", "y/1.json"}


def test_natural_order(tmp_path):
    for name in ("10.png", "9.png", "b/2.png", "b/11.png", "B1.png"):
        write_picture(tmp_path / name)
    found = [file.relative.as_posix() for file in find_pictures([str(tmp_path)])]
    assert found == ["9.png", "10.png", "b/2.png", "b/11.png", "B1.png"]


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), min_size=2))
@example(["٣", "3"])  # a digit that is none of the ten
def test_natural_order_compares_any_names(texts):
    sorted((Path(text) for text in texts), key=natural_key)


def test_unreadable_folder_is_reported(tmp_path, monkeypatch):
    write_picture(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_pictures([str(tmp_path)])
    assert [file.relative.as_posix() for file in found] == ["a.png", "locked"]
    with pytest.raises(PictureError, match="locked"):
        read_picture(found[1].path)


def test_batches_hold_few_pictures_at_once(tmp_path):
    files = []
    for number in range(30):
        path = write_picture(tmp_path / f"{number}.png", make_picture(10 + number, 20))
        files.append(PictureFile(path, Path(path.name)))
    read = []

    def network_size(height: int, width: int) -> tuple[int, int]:
        read.append(height)
        return height, width  # every picture has a size of its own

    done = 0
    for batch in read_in_batches(files, network_size=network_size, batch_size=2, report=pytest.fail):
        done += len(batch)
        assert len(read) - done < 8
    assert done == len(files)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    stored = cv2.GaussianBlur(make_picture(48, 64), (0, 0), 2)
    path = tmp_path / "photo.jpg"
    jpeg = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    path.write_bytes(with_exif_orientation(jpeg, orientation))
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }
    image = read_picture(path)
    assert image.shape == turned[orientation].shape
    assert np.abs(image.astype(int) - turned[orientation]).mean() < 3


RELATIVE_PATHS = st.lists(
    st.builds(
        lambda folder, stem, suffix: Path(folder, stem + suffix),
        st.sampled_from(["", "x", "X"]),
        st.sampled_from(["a", "A", "a_png", "a_png_2", "a_jpg", "é", "e\u0301", "a.b"]),
        st.sampled_from([".png", ".PNG", ".jpg", ""]),
    ),
    unique=True,
)


@given(RELATIVE_PATHS)
def test_no_two_targets_are_the_same_on_any_file_system(relatives):
    targets = plan_targets(relatives, Path("out"))
    folded = [unicodedata.normalize("NFC", str(target)).casefold() for target in targets]
    assert len(set(folded)) == len(relatives)
    assert all(
        target.parent == Path("out") / relative.parent for target, relative in zip(targets, relatives, strict=True)
    )
    assert targets == plan_targets(relatives, Path("out"))
