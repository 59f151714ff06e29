"""Input sizes: which settings are run, what is measured of them, which is best; every family; the script and its window."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from experiments import resolution_study
from experiments.agreement import edge_width
from experiments.resolution_parts import OWN, Setting, busiest_part, choose_settings, run_setting, run_settings
from experiments.resolution_results import best_setting, measure
from lib.demo.model import LoadedModel
from lib.image_processor import DPTImageProcessor
from lib.tiled import predict_depth_tiled
from tests.conftest import REPOSITORY, make_picture
from tests.experiment_models import (  # noqa: F401 (fixtures)
    assert_help_is_light,
    family_model,
    loaded_model,
    run_main,
    two_pictures,
)
from tests.image_script import names, write_picture
from tests.test_tiled import RULE, InverseDepthReader


def options(*more: object):
    return resolution_study.parse_args([str(option) for option in more])


def sharp_model() -> LoadedModel:
    """A model that reads the right depth from its picture, at the network's size."""
    return LoadedModel(InverseDepthReader(), DPTImageProcessor(RULE), "reader", "none", None, False)


def depth_picture() -> np.ndarray:
    """A picture that is its own inverse depth: a ramp with boxes on it, 240 x 320 float32."""
    picture = np.tile(np.linspace(0.2, 0.6, 320, dtype=np.float32), (240, 1))
    for left, top, value in ((30, 40, 0.75), (140, 90, 0.3), (230, 50, 0.8)):
        picture[top : top + 83, left : left + 61] = value
    return picture


@pytest.mark.parametrize("width", [1, 4, 9])
def test_edge_width_is_the_width_of_an_edge(width):
    ramp = np.clip((np.arange(400) - 200) / width, 0, 1)
    edge = np.tile(ramp, (300, 1))
    assert edge_width(edge) == pytest.approx(width, rel=0.15)
    assert edge_width(5 * edge - 3) == pytest.approx(edge_width(edge))
    assert edge_width(edge.T) == pytest.approx(edge_width(edge))
    noisy_border = edge.copy()
    noisy_border[:, 0] = 9
    assert edge_width(noisy_border) == pytest.approx(edge_width(edge))
    assert edge_width(np.ones((30, 40))) == np.inf


def test_settings_begin_with_the_own_size_and_repeat_none(family_model):  # noqa: F811
    settings = choose_settings(family_model, (96, 128), options("--sizes", 64, 128, 129, 192, "--tiles", 1, 2))
    assert settings[0] == Setting(OWN) and settings[-1] == Setting("2 x 2 tiles", tiles=2)
    sizes = [
        family_model.network_size(96, 128, setting.side) for setting in settings if setting.stretch == 1 and not setting.tiles
    ]
    assert len(set(sizes)) == len(sizes)
    if family_model.name == "levit":
        assert len(settings) == 2
    else:
        assert {setting.stretch for setting in settings} == {1, 0.6, 1.6} and len(sizes) >= 3
        square = replace(family_model, use_square_sizing=True)
        assert {setting.stretch for setting in choose_settings(square, (96, 128), options())} == {1}


def test_runs_are_predictions_at_their_settings(family_model):  # noqa: F811
    picture = make_picture(96, 128)
    own = run_setting(family_model, picture, Setting(OWN))
    assert np.array_equal(own.depth_map.depth, family_model.predict([picture])[0].depth) and own.seconds > 0
    tiled = run_setting(family_model, picture, Setting("tiles", tiles=2))
    sizing = {"max_side_length": family_model.max_side_length}
    expected = predict_depth_tiled(family_model.dpt_model, family_model.dpt_imgproc, picture, num_tiles=2, **sizing).depth
    assert np.array_equal(tiled.depth_map.depth, expected)
    if family_model.name != "levit":
        wide = run_setting(family_model, picture, Setting("wide", 192, stretch=2.0))
        assert wide.network_hw[1] / wide.network_hw[0] > 1.8 and wide.depth_map.depth.shape == (96, 128)
        expected = family_model.predict([cv2.resize(picture, (181, 68))], 192)[0].depth
        assert np.array_equal(wide.depth_map.depth, cv2.resize(expected, (128, 96)))


def test_more_pixels_are_sharper_and_the_best_is_within_the_tolerance():
    model, picture = sharp_model(), depth_picture()
    settings = [Setting(OWN), Setting("x 0.5", 84), Setting("x 2", 308), Setting("wide", 210, 1.6), Setting("3 x 3", tiles=3)]
    runs = run_settings(model, picture, settings, repeats=1)
    rows = {row["setting"]: row for row in measure(runs)}
    assert rows[OWN]["aligned_error"] == pytest.approx(0, abs=1e-9) and rows[OWN]["ranking"] == 1
    widths = [rows[name]["edge_width"] for name in ("x 0.5", OWN, "x 2")]
    assert widths == sorted(widths, reverse=True) and widths[0] > 1.5 * widths[2]
    assert rows["3 x 3"]["edge_width"] < 0.8 * rows[OWN]["edge_width"]
    for name in rows:  # all see the same depth, up to blur
        assert rows[name]["aligned_error"] < 0.05 and rows[name]["correlation"] > 0.95 and rows[name]["ranking"] > 0.95
        assert rows[name]["between"][name] == pytest.approx(0, abs=1e-9)
        assert rows[name]["between"][OWN] == pytest.approx(rows[name]["aligned_error"])
    sharpest = min(rows.values(), key=lambda row: row["edge_width"])["setting"]
    assert best_setting(list(rows.values()), 0.05) == sharpest != OWN
    assert best_setting(list(rows.values()), 1e-6) == OWN


def test_what_does_not_fit_into_memory_is_left_out(monkeypatch, capsys):
    model = sharp_model()
    inference = model.dpt_model.inference

    def run_out(image_rgb):
        if max(image_rgb.shape) > 200:
            raise RuntimeError("CUDA out of memory")
        return inference(image_rgb)

    monkeypatch.setattr(model.dpt_model, "inference", run_out)
    runs = run_settings(model, depth_picture(), [Setting(OWN), Setting("x 2", 308), Setting("x 0.5", 84)], repeats=0)
    assert [run.setting.name for run in runs] == [OWN, "x 0.5"]
    assert "Left out: x 2: out of memory" in capsys.readouterr().err


def test_the_busiest_part_has_the_edges():
    image = np.full((200, 300, 3), 90, np.uint8)
    image[120:170:4, 210:280:4] = 255
    rows, columns = busiest_part(image)
    assert rows.stop - rows.start == 60 and columns.stop - columns.start == 90
    assert rows.start <= 120 and rows.stop >= 165 and columns.start <= 210 and columns.stop >= 275


def test_script_writes_tables_and_plots(family_model, two_pictures, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    arguments = ["-i", tmp_path / "in", "-o", out, "--sizes", 64, "--stretches", 1.5, "--tiles", 2]
    assert run_main(resolution_study, *arguments) == 1  # c.png
    captured = capsys.readouterr()
    assert "c.png: damaged" in captured.err and "best setting for detail against consistency: " in captured.out
    tables = {"resolution.csv", "resolution.md", "resolution.png"}
    assert names(out) == tables | {stem + suffix for stem in ("a", "sub/b") for suffix in resolution_study.SUFFIXES}
    rows = list(csv.DictReader((out / "resolution.csv").open()))
    expected = [OWN, "2 x 2 tiles"] if family_model.name == "levit" else [OWN, "64 px", "stretched 1.5", "2 x 2 tiles"]
    assert [row["setting"] for row in rows if row["picture"] == "a.png"] == expected
    facts = json.loads((out / "sub" / "b_resolution.json").read_text())
    assert facts["best"] in expected and facts["settings"][0]["aligned_error"] < 1e-6
    page = (out / "resolution.md").read_text()
    assert all(f"| {name} |" in page for name in expected) and captured.out.strip().rsplit(": ")[-1] in page
    tiles = [float(row["aligned_error"]) for row in rows if row["setting"] == "2 x 2 tiles"]
    assert f"{np.mean(tiles):.4f}" in page and len(tiles) == 2
    for name in ("resolution.png", "a_resolution.png", "a_detail.png"):
        assert cv2.imread(str(out / name)).std() > 5


@pytest.mark.parametrize("wrong", [("--sizes", "0"), ("--stretches", "-1"), ("--tolerance", "x"), ("--stretches", "nan")])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(SystemExit):
        options(*wrong)


def test_window_without_a_screen(small_file, tmp_path, monkeypatch):
    """What the window computes and shows; that windows open is tested with fusion_scaling.py."""
    from experiments.resolution_window import SETTING_BAR, ResolutionWindow
    from lib.demo.pictures import find_pictures

    model = loaded_model("dinov2", small_file)
    files = find_pictures([str(write_picture(tmp_path / "a.png", make_picture(90, 120)))])
    window = ResolutionWindow(files, model, options("-s", 700, "--sizes", 56))
    places = {SETTING_BAR: 1}
    monkeypatch.setattr(window, "value_of", places.get)
    window.open_picture(0)
    assert [top for _, _, top in window.bars()] == [5]
    for place, name in ((1, "56 px: 56 x 42"), (5, "3 x 3 tiles")):
        places[SETTING_BAR] = place
        window.result = window.compute(window.image_bgr, window.question())
        pictures, lines = window.view()
        assert lines[0].startswith(name) and [picture.shape for picture in pictures] == [(90, 120, 3)] * 2
        assert not np.array_equal(*pictures)
    window.press("d")
    assert window.view()[0][1].shape == (27, 36, 3)
    window.save(tmp_path / "kept")
    assert [row["setting"] for row in json.loads((tmp_path / "kept_resolution.json").read_text())["settings"]] == [
        OWN,
        "3 x 3 tiles",
    ]


def test_help_is_instant():
    assert_help_is_light(REPOSITORY / "experiments" / "resolution_study.py")
