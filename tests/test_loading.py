"""make_dpt_from_state_dict and save_dpt: every form of file gives the same model, and every decision is announced."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib.errors import CheckpointError
from lib.make_dpt import make_dpt_from_state_dict, save_dpt
from lib.model_types import MODEL_TYPES
from tests.conftest import REPOSITORY, read_golden, small_state_dict
from tests.reference import synthetic_checkpoint

IMAGE = synthetic_checkpoint.model_input("loading", 56, 84)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return small_state_dict()


@pytest.fixture(scope="module")
def model(small_file) -> torch.nn.Module:
    return make_dpt_from_state_dict(small_file)[1]


def assert_same_model(ours: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = ours.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert torch.equal(ours.inference(IMAGE), other.inference(IMAGE))


def with_prefix(prefix: str, weights: dict) -> dict:
    return {prefix + key: tensor for key, tensor in weights.items()}


def training_state(weights: dict) -> dict:
    """What a training script saves: the weights, and much that is not."""
    return {
        "epoch": 3,
        "best": {"abs_rel": 0.1, "names": ["nyu"]},
        "rng": torch.get_rng_state(),
        "model": with_prefix("module.", weights),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    }


WRAPPINGS = {
    "module.": lambda weights: with_prefix("module.", weights),
    "model.": lambda weights: with_prefix("model.", weights),
    "module.model.": lambda weights: with_prefix("module.model.", weights),
    "compiled": lambda weights: with_prefix("_orig_mod.", weights),
    "state_dict": lambda weights: {"state_dict": weights},
    "model": lambda weights: {"model": weights},
    "nested": lambda weights: {"model": {"state_dict": with_prefix("module.", weights)}},
    "training": training_state,
    "double": lambda weights: {key: tensor.double() for key, tensor in weights.items()},
    "parameters": lambda weights: {key: torch.nn.Parameter(tensor) for key, tensor in weights.items()},
    "channels last": lambda weights: {
        key: tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for key, tensor in weights.items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapping_is_taken_off(tmp_path, weights, model, wrapping):
    path = tmp_path / "depth_anything_v2_wrapped.pth"
    torch.save(WRAPPINGS[wrapping](weights), path)
    assert_same_model(make_dpt_from_state_dict(path)[1], model)


def save_legacy(weights: dict, path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ""])
@pytest.mark.parametrize("save", [torch.save, save_legacy, save_file])
def test_every_file_format_under_any_name(tmp_path, weights, model, save, suffix):
    path = tmp_path / f"depth_anything_v2{suffix}"
    save(weights, path)
    assert_same_model(make_dpt_from_state_dict(str(path))[1], model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("save", [torch.save, save_legacy, save_file])
def test_half_precision_files_become_float32(tmp_path, weights, save, dtype):
    path = tmp_path / "depth_anything_v2_half.pth"
    save({key: tensor.to(dtype) for key, tensor in weights.items()}, path)
    loaded = make_dpt_from_state_dict(path)[1]
    rounded = weights["pretrained.pos_embed"].to(dtype).float()
    assert torch.equal(loaded.imgencoder.position_table, rounded)
    assert loaded.inference(IMAGE).dtype == torch.float32


@pytest.mark.parametrize("save", [torch.save, save_legacy])
def test_files_saved_from_a_gpu_load_without_one(tmp_path, weights, model, monkeypatch, save):
    """No GPU is needed to write such a file: the device is a word beside each tensor."""
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    path = tmp_path / "depth_anything_v2_gpu.pth"
    save(weights, path)
    monkeypatch.undo()
    assert path.read_bytes().count(b"cuda:0") > 0
    assert_same_model(make_dpt_from_state_dict(path)[1], model)


def test_the_model_is_ready_to_use(small_file):
    config, model, imgproc = make_dpt_from_state_dict(small_file)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters())
    assert json.loads(json.dumps(config)) == config
    assert imgproc.rule == MODEL_TYPES["depth-anything-v2"].picture


def test_loading_does_not_touch_the_random_state(small_file):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make_dpt_from_state_dict(small_file)
    assert torch.equal(torch.rand(3), expected)


# Our own format


@pytest.mark.parametrize("name", ["v1", "v2_swiglu", "v2_metric_vkitti"])
def test_save_dpt_and_load_again(tmp_path, weight_file, name, capsys):
    config, model, imgproc = make_dpt_from_state_dict(weight_file(f"tiny_depth_anything_{name}"))
    path = tmp_path / "mine.safetensors"
    save_dpt(path, config, model)
    capsys.readouterr()
    again_config, again_model, again_imgproc = make_dpt_from_state_dict(path)
    assert "its own config says so" in capsys.readouterr().out
    assert again_config == config and again_model.output == model.output
    assert again_imgproc.prepare_image_bgr(PICTURE).equal(imgproc.prepare_image_bgr(PICTURE))
    assert_same_model(again_model, model)
    assert os.listdir(tmp_path) == ["mine.safetensors"]


PICTURE = synthetic_checkpoint.seeded_normal("picture", 0, (30, 40, 3)).clip(0, 1)


def test_save_dpt_over_the_file_that_the_model_came_from(tmp_path, small_file):
    path = tmp_path / "mine.safetensors"
    config, model, _ = make_dpt_from_state_dict(small_file)
    save_dpt(path, config, model)
    config, again, _ = make_dpt_from_state_dict(path)
    save_dpt(path, config, again)
    assert_same_model(again, model)  # still usable, though its file was replaced
    assert_same_model(make_dpt_from_state_dict(path)[1], model)


def test_a_model_saved_in_half_precision_loads_as_the_rounded_model(tmp_path, small_file):
    config, model, _ = make_dpt_from_state_dict(small_file)
    save_dpt(tmp_path / "half.safetensors", config, model.half())
    assert_same_model(make_dpt_from_state_dict(tmp_path / "half.safetensors")[1], model.float())


@pytest.mark.parametrize("target", ["missing folder/mine.safetensors", "a folder"])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, small_file, target):
    (tmp_path / "a folder").mkdir()
    config, model, _ = make_dpt_from_state_dict(small_file)
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_dpt(tmp_path / target, config, model)
    assert os.listdir(tmp_path) == ["a folder"] and not os.listdir(tmp_path / "a folder")


def test_a_config_that_json_cannot_hold_is_not_saved(tmp_path, small_file):
    config, model, _ = make_dpt_from_state_dict(small_file)
    with pytest.raises(ValueError):
        save_dpt(tmp_path / "mine.safetensors", config | {"note": float("inf")}, model)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_save_keeps_the_old_file(tmp_path, small_file, monkeypatch):
    config, model, _ = make_dpt_from_state_dict(small_file)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"the old file")

    def full_disk(tensors, path, metadata):
        Path(path).write_bytes(b"half of the new fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.checkpoints.files.save_file", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_dpt(path, config, model)
    assert path.read_bytes() == b"the old file" and os.listdir(tmp_path) == ["mine.safetensors"]


# What shapes cannot tell: argument, then config, then file name, then an announced assumption


def write(folder: Path, weights: dict, name: str, sidecar: dict | None = None) -> Path:
    path = folder / name
    torch.save(weights, path)
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


VKITTI, HYPERSIM = "depth-anything-v2-metric-vkitti", "depth-anything-v2-metric-hypersim"


@pytest.mark.parametrize(
    "argument, sidecar, name, expected, max_depth, reason",
    [
        (VKITTI, {"model_type": HYPERSIM}, "depth_anything_vits14.pth", VKITTI, 80.0, f"model_type='{VKITTI}' says so"),
        (f"{VKITTI}-small", None, "x.pth", VKITTI, 80.0, f"model_type='{VKITTI}-small' says so"),
        (None, {"model_type": HYPERSIM}, "depth_anything_vits14.pth", HYPERSIM, 20.0, "config beside the weights"),
        (None, {"model_type": HYPERSIM, "max_depth": 12}, "x.pth", HYPERSIM, 12.0, "config beside the weights"),
        (None, {"note": "no type here"}, "depth_anything_vits14.pth", "depth-anything-v1", None, "file name says so"),
        (None, None, "depth_anything_vits14.pth", "depth-anything-v1", None, "file name says so"),
        (None, None, "depth_anything_v2_vits.pth", "depth-anything-v2", None, "file name says so"),
        (None, None, "Depth-Anything-V2-Metric-Outdoor-Small.pth", VKITTI, 80.0, "file name says so"),
        (None, None, "x.pth", "depth-anything-v2", None, "ASSUMED"),
        (None, None, "symmetric_scenes.pth", "depth-anything-v2", None, "ASSUMED"),
    ],
)
def test_type_is_decided_in_order_and_announced(
    tmp_path, weights, capsys, argument, sidecar, name, expected, max_depth, reason
):
    path = write(tmp_path, weights, name, sidecar)
    config, model, _ = make_dpt_from_state_dict(path, model_type=argument)
    announced = capsys.readouterr().out
    assert announced.count("\n") == 1 and announced.startswith(f"{name}: ") and reason in announced
    assert (config["model_type"], config["output"]["value_range"][1]) == (expected, max_depth)
    assert model.output.quantity == ("inverse depth" if max_depth is None else "metres")
    assert model.output.nearest_is_largest == (max_depth is None)
    assert model.output.value_range == (0, max_depth or float("inf"))
    is_v1 = expected == "depth-anything-v1"
    assert config["imgencoder"]["taps"] == [0, 1, 2, 3]
    assert config["picture"]["restore"] == ("bilinear" if is_v1 else "bilinear_corners")


@pytest.mark.parametrize("version, taps", [("v1", [8, 9, 10, 11]), ("v2", [2, 5, 8, 11])])
def test_the_type_decides_the_taps(tiny_v2, version, taps):
    config, model, _ = make_dpt_from_state_dict(tiny_v2, model_type=f"depth-anything-{version}")
    assert config["imgencoder"]["taps"] == taps == list(model.imgencoder.taps)


def test_a_depth_that_no_release_has_is_announced(tmp_path, weights, capsys):
    config, _, _ = make_dpt_from_state_dict(write(tmp_path, weights, "depth_anything_v2.pth"))
    assert "taps [0, 1, 2, 3] ASSUMED: no release has 4 blocks" in capsys.readouterr().out
    assert config["release"] is None


@pytest.mark.parametrize(
    "name, sidecar, argument, complaint",
    [
        ("finetuned_metric.pth", None, None, "not for which range"),
        ("x.pth", {"max_depth": 20}, None, "model_type"),
        ("x.pth", {"model_type": "midas-9"}, None, "midas-9"),
        ("x.pth", {"model_type": HYPERSIM, "max_depth": "twenty"}, None, "max_depth is 'twenty'"),
        ("x.pth", {"model_type": HYPERSIM, "max_depth": -1}, None, "max_depth is -1"),
        ("x.pth", None, "depth-anything-v7", "depth-anything-v7"),
    ],
)
def test_what_cannot_be_decided_is_refused(tmp_path, weights, name, sidecar, argument, complaint):
    path = write(tmp_path, weights, name, sidecar)
    with pytest.raises(CheckpointError, match=complaint):
        make_dpt_from_state_dict(path, model_type=argument)


def test_the_argument_must_not_contradict_our_own_format(tmp_path, small_file):
    config, model, _ = make_dpt_from_state_dict(small_file)
    path = tmp_path / "mine.safetensors"
    save_dpt(path, config, model)
    make_dpt_from_state_dict(path, model_type="depth-anything-v2")
    with pytest.raises(CheckpointError, match="depth-anything-v1"):
        make_dpt_from_state_dict(path, model_type="depth-anything-v1")


def test_metric_is_the_range_times_the_sigmoid(weight_file):
    """The same weights read as hypersim and as vkitti: 80 m is four times 20 m, everywhere."""
    path = weight_file("tiny_depth_anything_v2_metric_hypersim")
    image = read_golden("tiny_depth_anything_v2_metric_hypersim", "112x112").image
    near, far = (make_dpt_from_state_dict(path, model_type=name)[1].inference(image) for name in (HYPERSIM, VKITTI))
    assert torch.allclose(far, 4 * near) and 0 < near.min() and near.max() < 20


# Options


def test_strict_load_off_takes_what_fits_and_says_what_does_not(tmp_path, weights, model, capsys):
    changed = dict(weights)
    del changed["pretrained.blocks.1.norm1.weight"]
    changed["pretrained.head.weight"] = torch.zeros(3)
    path = write(tmp_path, changed, "depth_anything_v2_more_or_less.pth")
    with pytest.raises(CheckpointError):
        make_dpt_from_state_dict(path)
    capsys.readouterr()
    _, loaded, _ = make_dpt_from_state_dict(path, strict_load=False)
    announced = capsys.readouterr().out
    assert "missing key pretrained.blocks.1.norm1.weight" in announced
    assert "unexpected key pretrained.head.weight" in announced
    ours, full = loaded.state_dict(), model.state_dict()
    different = [key for key in full if not torch.equal(ours[key], full[key])]
    assert different == ["imgencoder.blocks.1.norm_1.weight"]
    assert torch.isfinite(loaded.inference(IMAGE)).all()


def test_strict_load_off_on_a_complete_file_is_the_same_model(small_file, model):
    assert_same_model(make_dpt_from_state_dict(small_file, strict_load=False)[1], model)


def test_paths_that_are_not_ascii_or_relative(tmp_path, weights, model, monkeypatch):
    folder = tmp_path / "Tiefe 深度 é"
    folder.mkdir()
    write(folder, weights, "depth_anything_v2_größe.pth")
    monkeypatch.chdir(folder)
    assert_same_model(make_dpt_from_state_dict("depth_anything_v2_größe.pth")[1], model)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_that_is_no_text(tmp_path, weights, model):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/depth_anything_v2_\xff.pth")
    try:
        torch.save(weights, path)
    except (OSError, RuntimeError, UnicodeError):
        pytest.skip("cannot be created here")
    assert_same_model(make_dpt_from_state_dict(path)[1], model)


PEAK_MEMORY = """
    import re, sys
    from pathlib import Path
    from lib.make_dpt import make_dpt_from_state_dict

    def peak():  # not getrusage, which begins with the peak of the process that started this one
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

    before = peak()
    _, model, _ = make_dpt_from_state_dict(sys.argv[1])
    print((peak() - before) / sum(4 * parameter.numel() for parameter in model.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("save", [torch.save, save_legacy, save_file])
def test_loading_needs_little_more_memory_than_the_weights(tmp_path, save, dtype):
    """Half of a Base, all zeros: only the size matters."""
    shapes = synthetic_checkpoint.load_manifest("depth_anything_v2_vitb")["keys"]
    wide = {key: shape for key, (*shape, _) in shapes.items() if not any(f".{block}." in key for block in range(6, 12))}
    path = tmp_path / "depth_anything_v2_wide.pth"
    save({key: torch.zeros(shape, dtype=dtype) for key, shape in wide.items()}, path)
    command = [sys.executable, "-c", textwrap.dedent(PEAK_MEMORY), str(path)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    ratio = float(finished.stdout.splitlines()[-1])
    mapped_file = 0.5 if save is save_file and dtype == torch.float16 else 0  # pages of the file, not of this process
    assert 0.9 < ratio <= 1.3 + mapped_file
