"""The small model that comes with the checkout: it loads, it sees depth, and the scripts use it when nothing is named."""

import json
import socket

import cv2
import numpy as np
import pytest

import run_image
from experiments.metrics import align, depth_metrics
from experiments.training.sources import SceneSource
from lib.demo.samples import SAMPLE_PICTURE, SAMPLE_VIDEO
from lib.demo.script import run_script
from lib.demo.weights import BUILTIN_MODEL, MODEL_WEIGHTS, find_weights
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth

from .conftest import REPOSITORY

BUILTIN = MODEL_WEIGHTS / BUILTIN_MODEL
NUM_SCENES, SIDE = 24, 224
FARTHEST = 80.0  # metres


@pytest.fixture(scope="module")
def model():
    return make_dpt_from_state_dict(BUILTIN)


def delta1(inverse_depth: np.ndarray, depth: np.ndarray) -> float:
    """Share of pixels within 25%, after least squares in inverse depth."""
    truth = np.where(depth < FARTHEST, depth, np.nan)
    aligned = align(inverse_depth, truth, alignment="inverse_depth", is_inverse=True, max_depth=FARTHEST)
    return depth_metrics(aligned.depth, truth)["delta1"]


def test_what_comes_along_is_small():
    assert BUILTIN.stat().st_size < 16e6
    assert SAMPLE_PICTURE.stat().st_size + SAMPLE_VIDEO.stat().st_size < 3e6


def test_it_says_what_it_predicts(model):
    config, dpt_model, _ = model
    assert config["model_type"] == "plain-dpt" and config["training"]["data"] == ["procedural"]
    assert dpt_model.output.quantity == "inverse depth" and dpt_model.output.nearest_is_largest


def test_it_beats_the_ramp_on_scenes_that_it_has_not_seen(model):
    """Seeds below NUM_VALIDATION_SCENES are in no training. The ramp: lower in the picture is nearer."""
    _, dpt_model, imgproc = model
    batch = SceneSource(seed=0, size_hw=(SIDE, SIDE)).scenes(range(5000, 5000 + NUM_SCENES))
    ramp = np.repeat(np.linspace(0, 1, SIDE, dtype=np.float32)[:, None], SIDE, axis=1)
    scores = []
    for image, depth in zip(batch.images, batch.depth.numpy(), strict=True):
        image_bgr = (image.flip(0).permute(1, 2, 0) * 255).round().byte().numpy()  # 3 H W RGB -> H W 3 BGR
        scores.append((delta1(predict_depth(dpt_model, imgproc, image_bgr).depth, depth), delta1(ramp, depth)))
    ours, of_ramp = np.mean(scores, axis=0)
    assert ours > of_ramp + 0.08


def test_the_first_command_needs_no_network(tmp_path, monkeypatch, capsys):
    """Without -m and -i: the built-in model and the sample picture, and one line that says so."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("lib.demo.weights.weights_in", lambda folder: [BUILTIN])
    arguments = ["-o", str(tmp_path / "results"), "-d", "cpu"]
    assert run_script(run_image.main, run_image.parse_args(arguments)) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "comes with the checkout" in line]
    assert len(said) == 1 and "-m depth-anything-v2-small" in said[0]
    depth = np.load(tmp_path / "results" / "sample_room_depth.npy")
    assert depth.shape == cv2.imread(str(SAMPLE_PICTURE)).shape[:2]
    # A tall pot on the desk stands before the corner of the room, the picture's far end.
    assert depth[600:, 300:700].mean() > depth[:100, 400:500].mean()


def test_files_of_the_user_go_first(tmp_path):
    (tmp_path / BUILTIN_MODEL).write_bytes(b"")
    assert find_weights(None, folder=tmp_path).name == BUILTIN_MODEL
    (tmp_path / "my.pth").write_bytes(b"")
    assert find_weights(None, folder=tmp_path).name == "my.pth"


def test_its_training_is_written_down():
    record = json.loads((MODEL_WEIGHTS / "builtin_tiny_training.json").read_text("utf-8"))
    for stage in record["stages"]:
        config = json.loads((REPOSITORY / stage["config"]).read_text("utf-8"))
        assert stage["config"] in stage["command"]
        same = config.keys() - {"model_path", "size"}  # paths are not kept, and sizes are written as height and width
        assert {name: stage["options"][name] for name in same} == {name: config[name] for name in same}
        assert stage["curve"][-1]["step"] <= config["steps"]
