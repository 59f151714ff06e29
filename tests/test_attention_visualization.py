"""attention_visualization.py: the right maps for the right patch, in files and in the window."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from experiments import attention_visualization as script
from experiments.attention_maps import (
    CLASS_TOKEN,
    DIRECTIONS,
    head_maps,
    patch_at,
    record_attention,
    rollout,
)
from experiments.attention_sheets import ends_of, map_picture, mosaic
from experiments.inspection import network_input, seen_picture
from experiments.recorder import find_blocks
from lib.demo.display import require_display
from lib.demo.model import LoadedModel, load_model
from lib.demo.pictures import find_pictures
from lib.errors import UserError
from lib.make_dpt import make_dpt_from_state_dict
from tests.conftest import make_picture
from tests.image_script import names, write_picture
from tests.inspection_files import FAMILIES, SIDE, is_quick, opened, run
from tests.midas import images, small_model


def open_model(weights: Path, *options: object) -> LoadedModel:
    arguments = ["-m", weights, "-d", "cpu", *options]
    return load_model(script.parse_args([str(argument) for argument in arguments]))


def sizing(family: str) -> list:
    return [] if family == "levit" else ["-b", SIDE if family == "dinov2" else 128]


# Maps


@pytest.mark.parametrize("family", ["vit", "swin2", "levit"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_rollout_is_the_product_of_all_matrices(family, direction):
    """Here whole matrices are multiplied; merged tokens by a matrix of their own."""
    model = small_model(family)
    attention = record_attention(model, images(), len(find_blocks(model)) - 1)
    product = None
    for record in attention.means:
        queries, keys = record.query_tokens.numel(), record.key_tokens.numel()
        matrix = torch.stack([record.row(token)[0, 0] for token in range(queries)])  # Q K
        step = (torch.eye(queries) + matrix) / 2 if record.has_shortcut else matrix
        if product is not None and product.shape[0] != keys:  # four tokens became one
            (rows, columns), wide = record.key_grid_hw, 2 * record.key_grid_hw[1]
            merging = torch.zeros(keys, product.shape[0])
            for row in range(rows):
                for column in range(columns):
                    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
                        merging[row * columns + column, (2 * row + y) * wide + 2 * column + x] = 0.25
            product = merging @ product
        product = step if product is None else step @ product
    place = (0.7, 0.3)
    ours, class_share = rollout(attention.means, place, direction=direction)
    extra = int(attention.record.has_class_token)
    last, first = attention.means[-1].query_grid_hw, attention.means[0].key_grid_hw
    row, column = patch_at(place, last if direction == "row" else first)
    token = extra + row * (last if direction == "row" else first)[1] + column
    expected = product[token] if direction == "row" else product[:, token]
    assert torch.allclose(ours.flatten(), expected[extra:], atol=1e-6)
    assert class_share is None if not extra else torch.allclose(class_share, expected[:1], atol=1e-6)
    assert direction == "column" or torch.allclose(expected.sum(), torch.ones(()), atol=1e-5)


def test_combinations_of_heads():
    attention = record_attention(small_model("beit"), images(96, 128), 2)
    heads = head_maps(attention.record, (0.1, 0.9), direction="row")[0].numpy()
    assert heads.shape == (2, 6, 8)
    np.testing.assert_allclose(attention.maps((0.1, 0.9), "row", "mean"), heads.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(attention.maps((0.1, 0.9), "row", "max"), heads.max(0))
    np.testing.assert_array_equal(attention.maps((0.1, 0.9), "row", 1), heads[1])


def test_the_class_token_asks():
    attention = record_attention(small_model("vit"), images(), 1)
    maps, share = head_maps(attention.record, CLASS_TOKEN, direction="row")
    weights = attention.record.weights[0, 0, :, 0]  # the first query
    assert torch.equal(maps.flatten(1), weights[:, 1:]) and torch.equal(share, weights[:, 0])
    with pytest.raises(ValueError, match="no class token"):
        head_maps(record_attention(small_model("swin"), images(), 1).record, CLASS_TOKEN, direction="row")


def test_attention_without_a_preference_is_uniform():
    """Queries of zero: every patch of the window gets the same."""
    model = small_model("vit")
    with torch.no_grad():
        attention = model.imgencoder.blocks[1].attention
        attention.qkv.weight[:64] = attention.qkv.bias[:64] = 0
    maps, share = head_maps(record_attention(model, images(), 1).record, (0.5, 0.5), direction="row")
    assert torch.allclose(maps, torch.full((2, 8, 8), 1 / 65)) and torch.allclose(share, torch.full((2,), 1 / 65))


@pytest.mark.parametrize(
    ("place", "patch"), [((0, 0), (0, 0)), ((0.999, 0.999), (3, 5)), ((1, 1), (3, 5)), ((0.5, 0.25), (1, 3))]
)
def test_patches_under_a_place(place, patch):
    assert patch_at(place, (4, 6)) == patch


def test_the_map_lies_over_the_picture_where_its_patches_are():
    picture = np.full((80, 120, 3), 100, np.uint8)
    values = np.zeros((4, 6), np.float32)
    values[3, 0] = 1
    painted = map_picture(picture, values, (0.9, 0.1), (4, 6), "gray")
    bright = painted.mean(axis=2) > 150
    bright[:22, 98:] = False  # the frame
    assert bright[61:79, 1:19].all() and not bright[:58, :].any() and not bright[:, 22:].any()
    framed = np.argwhere((painted == (255, 255, 0)).all(axis=2))
    assert framed.min(0).tolist() == [0, 100] and framed.max(0).tolist() == [19, 119]  # patch 0, 5 of 20 pixels


def test_the_mosaic_has_every_head_in_its_place():
    maps = np.zeros((3, 4, 4), np.float32)
    maps[2] = np.linspace(0, 1, 16).reshape(4, 4)
    tiles = mosaic(np.zeros((80, 80, 3), np.uint8), maps, "gray")
    assert tiles.shape == (80, 80, 3)
    assert tiles[60:80, 30:40].mean() > 100 and tiles[60:80, 42:].max() == 0 and tiles[20:40, 60:80].max() == 0


def test_ends_of_colours():
    values = np.float32([[0.2, 0.3], [0.25, 0.3]])
    assert ends_of(values)[0] == 0 and ends_of(values, how="rollout")[0] == np.float32(0.2)
    assert ends_of(np.zeros((2, 2), np.float32)) == (0, 0)


def test_padded_pictures_are_seen_with_their_margin(family_file):
    from dataclasses import replace

    model = open_model(family_file("dinov2"))
    model.dpt_imgproc.rule = replace(model.dpt_imgproc.rule, fit="pad")
    picture = make_picture(50, 61)
    seen = seen_picture(model, picture)
    assert seen.shape == (56, 70, 3) and np.array_equal(seen[3:53, 4:65], picture)
    assert network_input(model, picture).shape == (1, 3, 56, 70)
    place = script.place_of(Namespace(class_token=False, point=[0, 0]), model, picture)
    assert (int(place[0] * 70), int(place[1] * 56)) == (4, 3)


# Files


@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_every_family(family, family_file, tmp_path):
    picture = write_picture(tmp_path / "in" / "one.png", make_picture(96, 128))
    output = tmp_path / "out"
    weights = family_file(family)
    assert run(script, "-i", picture, "-o", output, "-m", weights, "--point", 100, 20, *sizing(family), "--block", 1) == 0
    assert names(output) == {f"one{suffix}" for suffix in script.SUFFIXES}
    facts = json.loads((output / "one_attention.json").read_text())
    arrays = np.load(output / "one_attention.npz")
    rows, columns = facts["token_grid"]
    assert facts["block"] == 1 and facts["patch"] == [20 * rows // 96, 100 * columns // 128]
    assert arrays["row"].shape == (facts["heads"], rows, columns) == arrays["column"].shape
    shares = facts["class_token_share"]["row"]
    assert (shares is not None) == (family in ("dinov2", "vit", "beit", "hybrid"))
    np.testing.assert_allclose(arrays["row"].sum((1, 2)) + (shares or 0), 1, atol=1e-4)
    for suffix in script.SUFFIXES:
        if suffix.endswith(".png"):
            image = cv2.imread(str(output / f"one{suffix}"))
            assert image.std() > 10 and image.shape[1] > 200

    # The same by hand: the patch's place counted in the network's input.
    model = open_model(weights, *sizing(family))
    tensor = network_input(model, cv2.imread(str(picture)))
    record = record_attention(model.dpt_model, tensor, 1).record
    token = int(record.has_class_token) + facts["patch"][0] * columns + facts["patch"][1]
    np.testing.assert_allclose(arrays["row"].reshape(facts["heads"], -1), record.row(token)[0, :, -rows * columns :], atol=1e-5)
    np.testing.assert_allclose(arrays["blocks_row_1"], arrays["row"].mean(0), atol=1e-5)


def test_the_class_token_in_files(family_file, tmp_path):
    picture = write_picture(tmp_path / "one.png")
    weights = family_file("beit")
    assert run(script, "-i", picture, "-o", tmp_path / "out", "-m", weights, "--class_token", "--block", -2, "-b", 128) == 0
    facts = json.loads((tmp_path / "out" / "one_attention.json").read_text())
    assert facts["asking"] == "class token" and facts["patch"] is None and facts["block"] == 2


def test_folders_and_bad_pictures(family_file, tmp_path, capsys):
    for name in ("a.png", "sub/b.jpg"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    common = ["-i", tmp_path / "in", "-o", tmp_path / "in", "-m", family_file("vit"), "-b", 64]
    assert run(script, *common) == 1
    captured = capsys.readouterr()
    assert "2 done, 1 skipped" in captured.out and "broken.png: damaged" in captured.err and "Traceback" not in captured.err
    before = names(tmp_path / "in")
    assert {"a_attention.npz", "sub/b_heads_row.png"} <= before
    assert run(script, *common) == 1  # results are not read as pictures
    assert names(tmp_path / "in") == before and "2 done, 1 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--block", 4], "--block 4: this model's blocks are 0 (block 0) to 3 (block 3)"),
        (["--block", -5], "--block -5"),
        (["--class_token", "--point", 5, 5], "--class_token and --point: either the class token asks or a patch does"),
        (["--engine", "openvino"], "--engine openvino: this script looks inside the model"),
        (["-b", -1], None),
    ],
)
def test_options_that_do_not_fit(family_file, tmp_path, capsys, options, message):
    picture = write_picture(tmp_path / "one.png")
    arguments = ["-i", picture, "-o", tmp_path / "out", "-m", family_file("vit"), *options]
    if message is None:
        with pytest.raises(SystemExit):
            run(script, *arguments)
        return
    assert run(script, *arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_no_class_token_to_ask(family_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "one.png")
    assert run(script, "-i", picture, "-o", tmp_path / "out", "-m", family_file("swin"), "--class_token") == 1
    assert "--class_token: this model's encoder has no class token" in capsys.readouterr().err


def test_a_point_outside(family_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "one.png", make_picture(60, 80))
    arguments = ["-o", tmp_path / "out", "-m", family_file("vit"), "-b", 64]
    assert run(script, "-i", picture, *arguments, "--point", 80, 5) == 1
    assert "one.png: --point 80 5 is not in a picture of 80 x 60 pixels" in capsys.readouterr().err


def test_without_a_picture_the_sample_is_shown(family_file, tmp_path):
    assert run(script, "-o", tmp_path / "out", "-m", family_file("vit"), "-b", 64) == 0
    assert all(path.name.startswith("sample_room") for path in (tmp_path / "out").iterdir())


def test_files_that_are_no_results_are_not_replaced(family_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "one.png")
    mine = write_picture(tmp_path / "out" / "one_blocks.png")
    before = mine.read_bytes()
    assert run(script, "-i", picture, "-o", tmp_path / "out", "-m", family_file("vit"), "-b", 64) == 1
    assert "one_blocks.png: exists and is no former result" in capsys.readouterr().err
    assert mine.read_bytes() == before and names(tmp_path / "out") == {"one_blocks.png"}


def test_help_is_instant():
    assert is_quick("attention_visualization")


# The window


class Bars:
    """Trackbars without a window."""

    def __init__(self, monkeypatch):
        self.values = {}
        monkeypatch.setattr(cv2, "getTrackbarPos", lambda label, window: self.values[label])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_view_of_the_window(family, family_file, tmp_path, monkeypatch):
    from experiments.attention_window import BLOCK_BAR, HEAD_BAR, AttentionWindow

    picture = write_picture(tmp_path / "one.png", make_picture(96, 128))
    args = script.parse_args(["-i", str(picture), "-m", str(family_file(family)), *map(str, sizing(family)), "-s", "640"])
    window = AttentionWindow(find_pictures([str(picture)]), load_model(args), args, 0, save=script.save_attention)
    bars = Bars(monkeypatch)
    bars.values = {label: value for label, value, _ in window.bars()}
    window.open_picture(0)
    monkeypatch.chdir(tmp_path)

    def shown(place=(0.3, 0.6)) -> np.ndarray:
        window.place = place
        window.result = window.compute(window.image_bgr, window.question())
        pictures, _ = window.view()
        canvas = window.arrange(pictures)
        assert canvas.shape[1] >= 640 and len(window.panels) == window.panels_with_pointer()
        return pictures[1]

    first = shown()
    assert not np.array_equal(first, shown((0.8, 0.1)))
    seen = [first]
    for keys in ("d", "m", "m", "mt", "tg", "gc"):  # rows and columns, maximum, rollout, tiles, smooth, colours
        for key in keys:
            window.press(key)
        seen.append(shown())
    assert all(not np.array_equal(seen[i], seen[j]) for i in range(len(seen)) for j in range(i) if (i, j) != (2, 1))
    bars.values |= {BLOCK_BAR: 1, HEAD_BAR: 1}
    assert not np.array_equal(seen[-1], shown())
    window.press("k")
    assert (window.asking() == CLASS_TOKEN) == (family in ("dinov2", "vit", "beit", "hybrid")) and shown() is not None
    window.save_safely()
    assert names(tmp_path / "results") == {f"one{suffix}" for suffix in script.SUFFIXES}


def test_the_window_on_a_screen(family_file, tmp_path):
    picture = write_picture(tmp_path / "one.png", make_picture(90, 120))
    arguments = ["-i", picture, "-m", family_file("vit"), "-b", 64, "-s", 640]
    with opened("attention_visualization", "Attention", tmp_path, *arguments) as viewer:

        def right_panel(shot: np.ndarray) -> np.ndarray:
            return shot[60:300, 325:640]

        def point_at(x: int, y: int) -> None:  # twice: the Qt of OpenCV's wheels may lose the news of one move
            viewer.screen.do("mousemove", x, y, "sleep", "0.05", "mousemove", x + 1, y)

        def shows_attention(shot: np.ndarray) -> bool:
            point_at(100, 200)
            return right_panel(shot).std() > 20

        def shows_another(shot: np.ndarray) -> bool:
            point_at(220, 150)
            return not np.array_equal(right_panel(shot), before)

        viewer.wait(shows_attention, "the attention")
        before = right_panel(viewer.screen.shot())
        viewer.wait(shows_another, "another patch's attention")
        viewer.key("s")
        viewer.wait(lambda shot: (tmp_path / "results" / "one_attention.npz").exists(), "the files")
        viewer.key("q")
        code, output, errors = viewer.end()
        assert code == 0 and "saved as" in output and "Traceback" not in errors


def test_no_display(monkeypatch, tmp_path, capsys, family_file):
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have one")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError):
        require_display()
    assert run(script, "-i", write_picture(tmp_path / "one.png"), "-m", family_file("vit")) == 1
    assert "pass -o FOLDER" in capsys.readouterr().err


def test_outputs_do_not_change(family_file):
    model = make_dpt_from_state_dict(family_file("swin2"))[1]
    before = model.inference(images())
    record_attention(model, images(), 7)
    assert torch.equal(model.inference(images()), before)
