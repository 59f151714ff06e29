"""Scaled fusion stages: what a scale does to the map, the contributions by frequency, the script and its window."""

import csv
import doctest
import json
import time

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from experiments import fusion_parts, fusion_scaling
from experiments.fusion_parts import band_rms, contributions, decode, encode, one_scaled, restore, spectrum, wave_bands
from experiments.inspection import network_input
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth
from tests.conftest import REPOSITORY, make_picture
from tests.experiment_models import (  # noqa: F401 (fixtures)
    assert_help_is_light,
    family_model,
    opened,
    run_main,
    two_pictures,
)
from tests.image_script import names, write_picture


def encoded_picture(model, picture: np.ndarray):
    return encode(model, network_input(model, picture), picture.shape[:2])


class Scaled(nn.Module):
    """Another way to scale a stage: the unit that prepares its map for the sum, with a factor on its result."""

    def __init__(self, unit: nn.Module, scale: float):
        super().__init__()
        self.unit, self.scale = unit, scale

    def forward(self, feature_map):
        return self.scale * self.unit(feature_map)


def test_scales_of_one_are_the_model_and_others_scale_each_stage(family_model):  # noqa: F811
    picture, model = make_picture(100, 120), family_model
    encoded = encoded_picture(model, picture)
    num_stages = len(encoded.maps)
    whole = decode(model, encoded)
    assert np.array_equal(restore(model, encoded, whole), model.predict([picture])[0].depth)
    assert np.array_equal(decode(model, encoded, [1.0] * num_stages), whole)

    blocks = model.dpt_model.fusion.blocks
    for stage in range(num_stages):
        for scale in (-1.0, 0.0, 0.3):
            ours = decode(model, encoded, one_scaled(num_stages, stage, scale))
            if stage == num_stages - 1:  # nothing is added to the coarsest map: scaling the map itself is the same
                changed = [*encoded.maps[:-1], scale * encoded.maps[-1]]
                expected = model.dpt_model.fusion(changed)
            else:
                unit = blocks[stage].refine_skip
                blocks[stage].refine_skip = Scaled(unit, scale)
                expected = model.dpt_model.fusion(encoded.maps)
                blocks[stage].refine_skip = unit
            with torch.no_grad():
                expected = model.dpt_model.head(expected, encoded.input_hw)[0].numpy()
            np.testing.assert_allclose(ours, expected, atol=1e-5 * whole.std())
            assert np.abs(ours - whole).max() > 1e-3 * whole.std()
    assert np.array_equal(model.predict([picture])[0].depth, restore(model, encoded, whole))  # nothing is left behind


def test_the_spectrum_finds_a_wave_and_loses_nothing():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(84, 112)) + 5
    bands = wave_bands(noise.shape)
    spread = spectrum(noise)
    assert sum(band_rms(spread, *band) ** 2 for band in bands) == pytest.approx(noise.var(), rel=1e-9)

    columns = np.arange(128) + 0.5
    wave = np.tile(3 * np.cos(2 * np.pi * columns / 20), (96, 1))  # 20 pixels: between 16 and 32
    shares = {band: band_rms(spectrum(wave), *band) ** 2 / wave.var() for band in wave_bands(wave.shape)}
    assert shares[32, 16] > 0.95 and sum(shares.values()) == pytest.approx(1)
    ramp = np.tile(np.arange(128.0), (96, 1))  # its borders do not fit together, and yet there is nothing fine in it
    assert band_rms(spectrum(ramp), 8, 0) < 0.02 * band_rms(spectrum(ramp), np.inf, 32)


def test_contributions_are_shares_of_the_map():
    ys, xs = np.mgrid[0:96, 0:96] + 0.5
    coarse, fine = np.cos(np.pi * xs / 96), 0.1 * np.cos(2 * np.pi * ys / 6)
    rows = contributions(coarse + fine + 7, coarse + 7, stage=0)  # without the stage, the fine wave is gone
    shares = {(row["longest_px"], row["shortest_px"]): row["share"] for row in rows}
    assert shares[8, 4] == pytest.approx(1, abs=0.01) and shares[np.inf, 64] < 1e-3
    assert {row["stage"] for row in rows} == {1} and len(rows) == len(wave_bands((96, 96)))


def test_script_writes_grid_and_table(family_model, two_pictures, tmp_path, capsys):  # noqa: F811
    out, num_stages = tmp_path / "out", len(family_model.dpt_model.fusion.blocks)
    only = [1.0] * (num_stages - 1) + [0.0]
    options = ["-i", tmp_path / "in", "-o", out, "--scales", -1, 0, 1, "--only", *only]
    assert run_main(fusion_scaling, *options) == 1  # c.png
    assert "c.png: damaged" in capsys.readouterr().err
    expected = {stem + suffix for stem in ("a", "sub/b") for suffix in fusion_scaling.SUFFIXES}
    assert names(out) == expected | {"fusion_bands.csv", "fusion_bands.md", "fusion_bands.png"}

    encoded = encoded_picture(family_model, two_pictures[0])
    scaled = restore(family_model, encoded, decode(family_model, encoded, only))
    assert np.array_equal(np.load(out / "a_scaled.npy"), scaled)
    grid = cv2.imread(str(out / "a_fusion.png"))
    assert grid.shape[1] == 3 * (220 + 8) + 8 and grid.shape[0] > num_stages * 165
    tiles = [grid[50:200, 8 + column * 228 : 220 + column * 228].astype(float) for column in range(3)]
    assert np.abs(tiles[0] - tiles[2]).mean() > 0.1  # different scales, different maps

    facts = json.loads((out / "a_fusion.json").read_text())
    assert facts["only"] == only and facts["made_by"] == "fusion_scaling"
    rows = list(csv.DictReader((out / "fusion_bands.csv").open()))
    assert {int(row["stage"]) for row in rows} == set(range(1, num_stages + 1))
    per_picture = [json.loads((out / f"{stem}_fusion.json").read_text())["contributions"] for stem in ("a", "sub/b")]
    shares = [row["share"] for part in per_picture for row in part if (row["stage"], row["shortest_px"]) == (1, 8)]
    mean = next(float(row["share"]) for row in rows if row["stage"] == "1" and row["shortest_px"] == "8")
    assert mean == pytest.approx(np.mean(shares)) and len(shares) == 2
    assert f"{mean:.4f}" in (out / "fusion_bands.md").read_text()
    assert run_main(fusion_scaling, *options) == 1  # former results are no pictures, and may be replaced


def test_bad_options_are_one_sentence(small_file, tmp_path, capsys):
    picture = write_picture(tmp_path / "a.png")
    model = ["-m", small_file, "-d", "cpu", "-b", 112]
    assert run_main(fusion_scaling, "-i", picture, "-o", tmp_path / "out", *model, "--only", 1, 2) == 1
    assert "--only has 2 scales, but this model has 4 stages" in capsys.readouterr().err
    for options, told in (
        (["--scales", 0, "nan"], "--scales 0 nan: expected finite numbers"),
        (["--only", 1, "inf", 1, 1], "--only 1 inf 1 1: expected finite numbers"),
        (["--engine", "onnxruntime"], "--engine onnxruntime: this script looks inside the model"),
    ):
        assert run_main(fusion_scaling, "-i", picture, "-o", tmp_path / "out", *model, *options) == 1
        assert told in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2" / "a_fusion.png").write_bytes(b"somebody's own")
    assert run_main(fusion_scaling, "-i", picture, "-o", tmp_path / "out2", *model) == 1
    assert "exists and is no former result" in capsys.readouterr().err
    assert (tmp_path / "out2" / "a_fusion.png").read_bytes() == b"somebody's own"
    with pytest.raises(SystemExit):
        run_main(fusion_scaling, "--scales", "much")


def test_help_is_instant():
    assert_help_is_light(REPOSITORY / "experiments" / "fusion_scaling.py")


def test_window_scales_saves_and_resets(screen, small_file, tmp_path):
    picture = write_picture(tmp_path / "a.png", make_picture(90, 120))
    options = ["-i", picture, "-m", small_file, "-b", 112, "--only", 1, 0, 1, -0.5]
    with opened(screen, "fusion_scaling.py", "Fusion scaling", tmp_path, *options) as viewer:
        assert viewer.save(tmp_path / "results" / "a_fusion.json")["scales"] == [1, 0, 1, -0.5]
        viewer.key("0")
        time.sleep(0.5)
        assert viewer.save(tmp_path / "results" / "a_2_fusion.json")["scales"] == [1, 1, 1, 1]
        width, height = viewer.size()
        row = screen.shot()[height - 16, 140:width].astype(int)  # the last slider: blue as far as its handle
        handle = 140 + int(np.flatnonzero(row[:, 0] - row[:, 2] > 60)[-1]) + 5
        screen.drag((handle, height - 16), (width - 10, height - 16))
        time.sleep(0.5)
        scales = viewer.save(tmp_path / "results" / "a_3_fusion.json")["scales"]
        assert scales[:3] == [1, 1, 1] and scales[3] > 1
        viewer.key("q")
        assert viewer.end()[0] == 0
    first, second, third = (np.load(tmp_path / "results" / f"a{n}_scaled.npy") for n in ("", "_2", "_3"))
    _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(small_file)
    plain = predict_depth(dpt_model, dpt_imgproc, make_picture(90, 120), max_side_length=112).depth
    np.testing.assert_allclose(second, plain, atol=1e-4 * plain.std())
    assert min(np.abs(first - plain).max(), np.abs(third - plain).max()) > 1e-3 * plain.std()


def test_examples_in_docstrings_are_true():
    assert doctest.testmod(fusion_parts) == (0, 3)
