"""ZoeDepth in the scripts: options, what results say, evaluation."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("skimage")

import run_image
import run_video
from experiments import evaluate_depth
from experiments.training.models import set_output
from lib.demo.script import run_script
from lib.errors import UserError
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth
from tests.conftest import make_picture
from tests.dataset_files import write_rgbd_set
from tests.image_script import run, write_picture
from tests.reference import synthetic_checkpoint

SIDE = {"max_side_length": 112}  # as tests.image_script.run


@pytest.fixture(scope="module")
def zoe(tmp_path_factory):
    """zoe(LETTERS) -> a small ZoeDepth file under its published name."""
    folder = tmp_path_factory.mktemp("zoe")

    def build(letters: str) -> Path:
        path = folder / f"ZoeD_M12_{letters.upper()}.pt"
        if not path.exists():
            torch.save({"model": synthetic_checkpoint.build(f"tiny_zoedepth_{letters}")}, path)
        return path

    return build


def result(folder: Path, name: str = "a") -> tuple[np.ndarray, dict]:
    return np.load(folder / f"{name}_depth.npy"), json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("options, changes", [
    ([], {}),
    (["--no_flip"], {"use_flip": False}),
    (["--no_pad"], {"use_padding": False}),
    (["--no_flip", "--no_pad"], {"use_flip": False, "use_padding": False}),
])  # fmt: skip
def test_padding_and_mirroring_are_switched_off_by_options(zoe, tmp_path, options, changes):
    picture = make_picture(60, 80)
    write_picture(tmp_path / "a.png", picture)
    assert run(zoe("n"), tmp_path / "a.png", tmp_path / "out", "--save", "npy", *options) == 0
    _, model, imgproc = make_dpt_from_state_dict(zoe("n"))
    expected = predict_depth(model, imgproc, picture, **SIDE, **changes)
    depth, facts = result(tmp_path / "out")
    assert np.array_equal(depth, expected.depth) and facts["quantity"] == "metres" and "domain" not in facts
    assert facts["flip_averaged"] == ("--no_flip" not in options) and facts["padded"] == ("--no_pad" not in options)


def test_the_domain_is_reported_and_chosen(zoe, tmp_path, capsys):
    for name in "ab":
        write_picture(tmp_path / "in" / f"{name}.png", make_picture(60, 80, seed=ord(name)))
    depths = {}
    for domain in (None, "indoor", "outdoor"):
        options = ["--domain", domain] if domain else []
        out = tmp_path / str(domain)
        assert run(zoe("nk"), tmp_path / "in", out, "--save", "npy", "--batch_size", 2, *options) == 0
        depths[domain], facts = result(out)
        assert facts["domain"] == (domain or facts["domain"]) and facts["domain"] in ("indoor", "outdoor")
        assert "taken as " in capsys.readouterr().out
        if domain is None:
            chosen = facts["domain"]
    assert np.array_equal(depths[None], depths[chosen])
    assert not np.allclose(depths["indoor"], depths["outdoor"])


def test_the_range_of_the_kitti_model(zoe, tmp_path):
    write_picture(tmp_path / "a.png")
    for metres in (10, 80):
        out = tmp_path / str(metres)
        assert run(zoe("k"), tmp_path / "a.png", out, "--save", "npy", "--metric_range", metres) == 0
    assert run(zoe("k"), tmp_path / "a.png", tmp_path / "default", "--save", "npy") == 0
    (near, near_facts), (far, far_facts) = (result(tmp_path / name) for name in ("10", "80"))
    assert (near_facts["value_range"], far_facts["value_range"]) == ([0.001, 10], [0.001, 80])
    assert np.array_equal(near, result(tmp_path / "default")[0])
    assert np.abs((far - 0.001) / (80 - 0.001) - (near - 0.001) / (10 - 0.001)).max() < 1e-4


@pytest.mark.parametrize("letters, options, told", [
    ("k", ["--domain", "indoor"], "--domain: this model has the same bins for all pictures"),
    ("nk", ["--metric_range", "80"], "--metric_range: this model's bins have no bounds"),
    (None, ["--domain", "indoor"], "--domain is for ZoeDepth models, and this is none"),
    (None, ["--metric_range", "5"], "--metric_range is for ZoeDepth models, and this is none"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused_in_one_sentence(zoe, small_file, tmp_path, capsys, letters, options, told):
    write_picture(tmp_path / "a.png")
    weights = zoe(letters) if letters else small_file
    assert run(weights, tmp_path / "a.png", tmp_path / "out", *options) == 1
    assert told in capsys.readouterr().err


def test_other_models_do_not_mind_no_flip_and_no_pad(small_file, tmp_path):
    write_picture(tmp_path / "a.png")
    assert run(small_file, tmp_path / "a.png", tmp_path / "plain", "--save", "npy") == 0
    assert run(small_file, tmp_path / "a.png", tmp_path / "with", "--save", "npy", "--no_flip", "--no_pad") == 0
    assert np.array_equal(result(tmp_path / "plain")[0], result(tmp_path / "with")[0])


def test_evaluation_measures_metres_without_alignment(zoe, tmp_path, monkeypatch):
    write_rgbd_set(tmp_path / "data", 1)
    arguments = ["--dataset", "rgbd", "--data", str(tmp_path / "data"), "-m", str(zoe("k")), "-d", "cpu", "-b", "96"]
    out = ["-o", str(tmp_path / "out"), "--name", "zoe", "--metric_range", "80", "--no_flip"]
    monkeypatch.setattr(sys, "argv", ["evaluate_depth.py", *arguments, *out])
    assert run_script(evaluate_depth.main, evaluate_depth.parse_args()) == 0
    results = json.loads((tmp_path / "out" / "zoe.json").read_text())
    text = json.dumps(results)
    assert "none: the prediction is in metres" in text and "zoedepth-kitti" in text and "0.001 to 80" in text
    assert results["model"]["padded"] is True and results["model"]["flip_averaged"] is False


def test_training_takes_such_a_model_for_metres_alone(zoe):
    """It is trained as it is, with --loss silog; another quantity or range would need another head."""
    config, model, _ = make_dpt_from_state_dict(zoe("n"))
    before = dict(config["head"])
    set_output(config, model, is_metric=True, max_depth=None)
    assert config["head"] == before and model.output.quantity == "metres"
    for is_metric, max_depth in ((False, None), (True, 20.0)):
        with pytest.raises(UserError, match="predicts metres from bins"):
            set_output(config, model, is_metric=is_metric, max_depth=max_depth)


def test_the_domains_of_a_video_are_reported(zoe, tmp_path, capsys):
    """The router looks at every frame; the pictures' results say which it was."""
    for number in range(4):
        write_picture(tmp_path / "frames" / f"{number}.png", make_picture(60, 80, seed=number))
    options = ["-m", str(zoe("nk")), "-d", "cpu", "-b", "112"]
    pictures = str(tmp_path / "frames")
    run_image_args = run_image.parse_args(["-i", pictures, "-o", str(tmp_path / "single"), "--save", "npy", *options])
    assert run_script(run_image.main, run_image_args) == 0
    expected = Counter(result(tmp_path / "single", str(number))[1]["domain"] for number in range(4))
    capsys.readouterr()
    for domain in (None, "outdoor"):
        more = ["--domain", domain] if domain else []
        args = run_video.parse_args(["-i", pictures, "-o", str(tmp_path / str(domain)), "--save", "npz", *options, *more])
        assert run_script(run_video.main, args) == 0
        facts = json.loads(next((tmp_path / str(domain)).glob("*.json")).read_text())
        assert facts["domains"] == (dict(expected) if domain is None else {domain: 4})
        assert "taken as " in capsys.readouterr().out
