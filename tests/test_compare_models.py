"""Models compared: the measures, metric beside relative models, every family beside another; the script and its window."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest

import lib.demo.model
from experiments import compare_models
from experiments.agreement import agreement, as_inverse
from experiments.compare_parts import compare_pairs, differences, matrix_ends, predict_all
from lib.predict import DepthMap
from tests.conftest import REPOSITORY, make_picture
from tests.experiment_models import (  # noqa: F401 (fixtures)
    FAMILIES,
    assert_help_is_light,
    loaded_model,
    run_main,
    two_pictures,
)
from tests.image_script import names, write_picture

INFINITY = float("inf")


def smooth_map(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(60, 80))
    blurred = cv2.GaussianBlur(noise, (0, 0), 6)
    return (blurred - blurred.min() + 0.2).astype(np.float32)


def test_agreement_ignores_scale_and_shift_and_sees_the_rest():
    reference = smooth_map(0)
    same = agreement(3 * reference - 1, reference)
    assert same.correlation == pytest.approx(1) and same.aligned_error < 1e-6 and same.ranking > 0.999
    mirrored = agreement(-reference, reference)
    assert mirrored.correlation == pytest.approx(-1) and mirrored.ranking < 0.001
    curved = agreement(reference**3, reference)  # another curve, the same order
    assert curved.ranking > 0.999 and 0.8 < curved.correlation < 0.99 and curved.aligned_error > 0.02
    other = agreement(smooth_map(1), reference)
    assert abs(other.correlation) < 0.6 and other.aligned_error > 0.1 and 0.2 < other.ranking < 0.8
    nothing = agreement(np.ones_like(reference), reference)
    assert (nothing.correlation, nothing.ranking) == (0, 0)


def test_colours_of_equal_models_are_those_of_no_error():
    nothing = float("nan")
    equal = np.array([[nothing, 0.0], [1e-9, nothing]])
    assert matrix_ends("aligned_error", equal) == (0, 0.01)
    assert matrix_ends("ranking", 1 - equal) == (0.99, 1)
    assert matrix_ends("aligned_error", equal + 0.3)[1] == pytest.approx(0.3)
    assert matrix_ends("correlation", equal - 0.5)[0] == pytest.approx(-0.5)
    assert matrix_ends("correlation", np.full((2, 2), nothing)) == (0.99, 1)


def test_aligned_error_is_the_best_there_is():
    values, reference = smooth_map(1), smooth_map(0)
    scale, shift = np.polyfit(values.ravel(), reference.ravel(), 1)
    span = np.ptp(np.percentile(reference, (1, 99)))
    expected = np.abs(scale * values + shift - reference).mean() / span
    assert agreement(values, reference).aligned_error == pytest.approx(expected, rel=1e-4)


def test_metres_become_inverse_depth():
    inverse = smooth_map(0)
    metric = DepthMap(1 / inverse, "metres", False, (0.0, 80.0))
    relative = DepthMap(5 * inverse + 3, "inverse depth", True, (0.0, INFINITY))
    far_or_none = DepthMap(np.float32([[0, 2], [4, 8]]), "metres", False, (0.0, 80.0))
    result = agreement(as_inverse(relative), as_inverse(metric))
    assert result.aligned_error < 1e-6 and result.ranking > 0.999
    assert as_inverse(far_or_none).tolist() == [[10, 0.5], [0.25, 0.125]]  # nothing is nearer than ten centimetres
    assert np.isfinite(as_inverse(DepthMap(np.zeros((3, 3), np.float32), "depth", False, (0.0, INFINITY)))).all()


def test_differences_are_from_the_median_after_alignment():
    one, two = smooth_map(0), smooth_map(0)
    odd = smooth_map(0) + 2 * (np.arange(80) > 60)
    apart = differences({"one": one, "two": 4 * two + 9, "odd": odd.astype(np.float32)})
    assert apart["one"].max() < 0.02 and apart["two"].max() < 0.02
    assert apart["odd"][:, 65:].mean() > 10 * apart["one"].mean()


@pytest.fixture
def models(small_file, monkeypatch) -> dict:
    """Scripts that load a model get the small one of the family that -m names."""
    models = {family: loaded_model(family, small_file) for family in FAMILIES}
    monkeypatch.setattr(lib.demo.model, "load_model", lambda args: models[args.model_path])
    return models


def test_script_compares_all_families(models, two_pictures, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    assert run_main(compare_models, "-m", *FAMILIES, "-i", tmp_path / "in", "-o", out) == 1  # c.png
    assert "c.png: damaged" in capsys.readouterr().err
    expected = {stem + suffix for stem in ("a", "sub/b") for suffix in compare_models.SUFFIXES}
    assert names(out) == expected | {"compare.csv", "compare.md", "compare.png"}

    rows = list(csv.DictReader((out / "compare.csv").open()))
    assert len(rows) == 2 * len(FAMILIES) * (len(FAMILIES) - 1)
    for picture, name in zip(two_pictures, ("a.png", "sub/b.png"), strict=True):
        beit, swin = (as_inverse(models[family].predict([picture])[0]) for family in ("beit", "swin2"))
        row = next(r for r in rows if (r["picture"], r["model"], r["reference"]) == (name, "beit", "swin2"))
        assert float(row["correlation"]) == pytest.approx(np.corrcoef(beit.ravel(), swin.ravel())[0, 1], abs=1e-6)
    page = (out / "compare.md").read_text()
    mean = np.mean([float(row["ranking"]) for row in rows if (row["model"], row["reference"]) == ("vit", "levit")])
    line = page.split("## Ranking agreement")[1].split("\n| vit |")[1].splitlines()[0].split("|")
    assert line[FAMILIES.index("levit")].strip() == f"{mean:.4f}" and line[0].strip() == "-"
    facts = json.loads((out / "a_compare.json").read_text())
    assert set(facts["models"]) == set(FAMILIES) and len(facts["pairs"]) == len(rows) // 2
    sheet = cv2.imread(str(out / "a_compare.png"))
    assert sheet.shape[1] == (1 + len(FAMILIES)) * 308 + 8 and cv2.imread(str(out / "compare.png")).std() > 5


def test_the_same_model_twice_agrees_with_itself(small_file, tmp_path):
    write_picture(tmp_path / "a.png", make_picture(60, 80))
    options = ["-i", tmp_path / "a.png", "-o", tmp_path / "out", "-d", "cpu", "-b", 112]
    copied = shutil.copy(small_file, tmp_path / "depth_anything_v2_copy.pth")
    assert run_main(compare_models, "-m", small_file, copied, small_file, *options) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "compare.csv").open()))
    stems = [name.split(", ")[1] for name in dict.fromkeys(row["model"] for row in rows)]
    assert stems == ["depth_anything_v2_small", "depth_anything_v2_copy", "depth_anything_v2_small (3)"]
    for row in rows:
        assert float(row["correlation"]) == pytest.approx(1) and float(row["aligned_error"]) < 1e-6
    differences_shown = cv2.imread(str(tmp_path / "out" / "a_compare.png"))
    below = differences_shown[-100:-20, 8 + 308 : 8 + 308 + 300]  # the first colour of a difference: nothing
    assert below.reshape(-1, 3).std(axis=0).max() < 1


def test_one_model_is_not_enough(small_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "a.png")
    for models in ([], ["-m", small_file]):
        assert run_main(compare_models, *models, "-i", picture, "-o", tmp_path / "out") == 1
        assert "at least two models" in capsys.readouterr().err


def test_window_without_a_screen(small_file, tmp_path, monkeypatch):
    """What the window computes and shows; that windows open is tested with fusion_scaling.py."""
    from experiments.compare_window import LEFT_BAR, RIGHT_BAR, CompareWindow
    from lib.demo.pictures import find_pictures

    models = {family: loaded_model(family, small_file) for family in ("vit", "levit", "dinov2")}
    files = find_pictures([str(write_picture(tmp_path / "a.png", make_picture(90, 120)))])
    window = CompareWindow(files, models, compare_models.parse_args(["-m", "a", "b"]))
    places = {LEFT_BAR: 0, RIGHT_BAR: 2}
    monkeypatch.setattr(window, "value_of", places.get)
    window.open_picture(0)
    window.result = window.compute(window.image_bgr, window.question())
    maps = predict_all(models, window.image_bgr)
    row = next(row for row in compare_pairs(maps) if (row["model"], row["reference"]) == ("dinov2", "vit"))
    both, lines = window.view()
    assert lines[0].startswith("vit  |  dinov2:") and f"correlation {row['correlation']:.3f}" in lines[0]
    window.press("d")
    assert not np.array_equal(window.view()[0][1], both[1])
    window.save(tmp_path / "kept")
    assert len(json.loads((tmp_path / "kept_compare.json").read_text())["pairs"]) == 6


def test_help_is_instant():
    assert_help_is_light(REPOSITORY / "experiments" / "compare_models.py")
