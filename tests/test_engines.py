"""run_image.py through ONNX Runtime and OpenVINO: the same results, exported once, and the cache is never stale."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.demo import engines, onnx_export
from lib.demo.engines import CACHE_VARIABLE, EngineModel, engine_cache_folder, exported_once, fingerprint
from lib.demo.onnx_metadata import read_facts
from lib.errors import UserError
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth
from tests.conftest import REPOSITORY, SAME, difference, make_picture, small_state_dict
from tests.image_script import command_line, run, write_picture
from tests.midas import images

ENGINES = ("onnxruntime", "openvino")
for package in (*ENGINES, "onnxscript"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "depth_anything_v2_small.pth"
    torch.save(small_state_dict(), path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The cache folder, with one network in it that was really exported."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache") / "not made yet"
        patch.setenv(CACHE_VARIABLE, str(folder))
        patch.setattr(engines, "LIBRARY", tmp_path_factory.mktemp("code"))  # so that nobody's edits make a difference
        yield folder


@pytest.fixture(scope="module")
def exported(weights, cache) -> Path:
    return exported_once(weights)


@pytest.fixture
def no_export(monkeypatch):
    """Exporting again is an error."""

    def refuse(*_):
        raise AssertionError("exported again")

    monkeypatch.setattr(onnx_export, "export_network", refuse)


@pytest.mark.parametrize("engine", ENGINES)
def test_run_image_gives_the_same_depth(engine, weights, exported, no_export, tmp_path, capsys):
    for name, size in (("wide", (60, 80)), ("high", (90, 50))):
        write_picture(tmp_path / "in" / f"{name}.png", make_picture(*size))
    assert run(weights, tmp_path / "in", tmp_path / "torch", "--save", "npy") == 0
    assert run(weights, tmp_path / "in", tmp_path / engine, "--save", "npy", "--engine", engine) == 0
    assert run(exported, tmp_path / "in", tmp_path / "file", "--save", "npy", "--engine", engine) == 0
    assert "in float32" in capsys.readouterr().out
    for name in ("wide", "high"):
        expected, ours, file = (np.load(tmp_path / way / f"{name}_depth.npy") for way in ("torch", engine, "file"))
        assert np.abs(ours - expected).max() < SAME * expected.std() and np.array_equal(ours, file)


def test_bfloat16_is_near_and_not_the_same(weights, exported):
    _, model, _ = make_dpt_from_state_dict(weights)
    image = images(112, 98)
    expected = model.inference(image)
    exact, rough = (EngineModel(exported, engine="openvino", dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert difference(exact.inference(image), expected) < SAME
    assert difference(rough.inference(image), expected) < 0.5


def test_an_engine_model_is_a_model_for_predict_depth(weights, exported):
    _, model, imgproc = make_dpt_from_state_dict(weights)
    ours = EngineModel(exported, engine="onnxruntime")
    assert ours.output == model.output and next(ours.parameters()).device.type == "cpu"
    picture = make_picture(60, 80)
    expected = predict_depth(model, imgproc, picture, max_side_length=98)
    result = predict_depth(ours, imgproc, picture, max_side_length=98)
    assert (result.quantity, result.value_range) == (expected.quantity, expected.value_range)
    assert np.abs(result.depth - expected.depth).max() < SAME * expected.depth.std()
    with pytest.raises(ValueError, match="multiples of 14"):
        ours.inference(torch.zeros(1, 3, 60, 56))


def test_nobody_looks_inside_an_engine(exported):
    model = EngineModel(exported, engine="onnxruntime")
    with pytest.raises(UserError, match="look inside"):
        model.imgencoder.blocks[0]
    assert not hasattr(model, "something_else")


def test_openvino_keeps_few_sizes_and_its_results_stay(exported):
    model = EngineModel(exported, engine="openvino")
    first = model.inference(images(56, 56))
    kept = first.clone()
    for width in (70, 84, 98, 56):
        model.inference(images(56, width))
    assert len(model.network.compiled) == engines.MOST_COMPILED and torch.equal(first, kept)


def test_what_the_cached_file_depends_on(weights, cache, tmp_path, monkeypatch):
    first = fingerprint(weights, None)
    assert fingerprint(weights, None) == first and fingerprint(weights, "depth-anything-v1") != first
    copies = [tmp_path / "a" / weights.name, tmp_path / "other_name.pth"]
    copies[0].parent.mkdir()
    for copy in copies:
        copy.write_bytes(weights.read_bytes())
    assert fingerprint(copies[0], None) == first != fingerprint(copies[1], None)
    copies[0].with_suffix(".json").write_text("{}")  # a config beside the weights
    assert fingerprint(copies[0], None) != first
    changed = small_state_dict()
    changed["pretrained.norm.weight"] += 1e-3
    torch.save(changed, copies[1])
    assert fingerprint(copies[1], None) != first
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        assert fingerprint(weights, None) != first
    monkeypatch.setattr(engines, "LIBRARY", tmp_path)
    (tmp_path / "encoder.py").write_text("x = 1")
    before = fingerprint(weights, None)
    (tmp_path / "encoder.py").write_text("x = 2")
    assert fingerprint(weights, None) != before


def test_a_damaged_file_in_the_cache_is_made_again(weights, exported, monkeypatch):
    content = exported.read_bytes()
    exported.write_bytes(content[:1000])

    def restore(model, path, facts):
        path.write_bytes(content)
        return path

    monkeypatch.setattr(onnx_export, "export_network", restore)
    found = exported_once(weights)
    exported.write_bytes(content)  # for the other tests, whatever happened here
    assert found == exported and read_facts(found).name == "depth-anything-v2"


def test_an_interrupted_export_leaves_nothing(weights, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_export, "exportable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exported_once(weights)
    assert os.listdir(tmp_path) == []


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform.startswith("linux"):
        assert engine_cache_folder() == tmp_path / "plain_dpt"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    assert engine_cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_engine_is_named(engine, weights, exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, engine, None)
    picture = write_picture(tmp_path / "a.png")
    assert run(weights, picture, tmp_path / "out", "--engine", engine) == 1
    told = capsys.readouterr().err
    assert engine in told and "pip install" in told and len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "onnxruntime", "--engine_dtype", "bfloat16"], "openvino"),
        (["--engine", "openvino", "-d", "cuda"], "CPU"),
        (["--engine", "openvino", "--domain", "indoor"], "--domain"),
    ],
)
def test_what_does_not_go_together(options, told, weights, exported, tmp_path, capsys):
    picture = write_picture(tmp_path / "a.png")
    assert command_line("-i", picture, "-o", tmp_path / "out", "-m", weights, *options) == 1
    assert told in capsys.readouterr().err


def test_files_that_are_no_networks_of_ours(exported, tmp_path, capsys):
    import onnx

    picture = write_picture(tmp_path / "a.png")
    foreign = onnx.load(exported)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    hollow = onnx.load(exported)
    hollow.graph.node[0].op_type = "Nonsense"
    onnx.save(hollow, tmp_path / "hollow.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:-10])
    for name in ("foreign", "hollow", "text", "cut"):
        for engine in ENGINES:
            assert run(tmp_path / f"{name}.onnx", picture, tmp_path / "out", "--engine", engine) == 1, (name, engine)
            told = capsys.readouterr().err
            assert f"{name}.onnx" in told and len(told.strip().splitlines()) == 1, told


def test_the_facts_reach_the_results(exported, tmp_path):
    assert read_facts(exported).summary.startswith("Depth-Anything V2")
    picture = write_picture(tmp_path / "a.png")
    assert run(exported, picture, tmp_path / "out") == 0
    sidecar = (tmp_path / "out" / "a.json").read_text()
    assert exported.name in sidecar and '"quantity": "inverse depth"' in sidecar


def test_an_onnx_file_says_itself_what_it_is(exported):
    args = type("Options", (), {"domain": None, "metric_range": None, "device": None, "engine": None, "model_type": "x"})
    with pytest.raises(UserError, match="--model_type"):
        engines.load_engine(exported, args)


DROPPED_IN_A_THREAD = """
import signal, subprocess, sys, threading
from pathlib import Path
import torch
from lib.demo.engines import EngineModel

networks = [EngineModel(Path(sys.argv[1]), engine=sys.argv[2])]
networks[0].inference(torch.zeros(1, 3, 56, 56))
thread = threading.Thread(target=networks.clear)
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda *_: None)  # as PyTorch's data loaders do
for _ in range(20):
    subprocess.run([sys.executable, "-S", "-c", ""], check=True)
print("still here")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_signals_are_survived_after_the_last_network_went_in_another_thread(engine, exported):
    """OpenVINO, unloaded by another thread than the one that loaded it, left a signal stack in memory that was gone."""
    command = [sys.executable, "-c", DROPPED_IN_A_THREAD, str(exported), engine]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "still here\n"), done.stderr
