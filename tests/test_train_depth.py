"""experiments/train_depth.py: losses fall, and resuming, splitting and freezing change nothing that they should not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from experiments import train_depth
from experiments.training import loop
from experiments.training.loop import train
from experiments.training.models import (
    DPT_SIZES,
    cosine_filters,
    make_model,
    make_optimizers,
    parameter_groups,
    train_mode,
)
from experiments.training.options import NEW_MODELS, make_parser, parse
from experiments.training.records import read_curve
from experiments.training.sources import SceneSource
from experiments.unet import load_unet
from lib.checkpoints.files import read_checkpoint
from lib.demo.script import run_script
from lib.errors import CheckpointError, UserError
from lib.make_dpt import make_dpt_from_state_dict
from tests.conftest import REPOSITORY, difference

SMALL = [
    "--size",
    "28",
    "--batch_size",
    "4",
    "--log_every",
    "1",
    "--val_count",
    "2",
    "--device",
    "cpu",
    "--no-tensorboard",
]


def write_pair(folder: Path, name: str, seed: int) -> None:
    """A picture of 40 x 60 whose brightness tells its depth, 1 to 8 m, and the depth at half that size."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((3, 4)).astype(np.float32), (60, 40), interpolation=cv2.INTER_LINEAR)
    brightness = np.repeat(255 * coarse[..., None], 3, axis=2) + rng.normal(0, 4, (40, 60, 3))
    cv2.imwrite(str(folder / f"{name}.png"), brightness.clip(0, 255).astype(np.uint8))
    np.save(folder / f"{name}_depth.npy", 8 * 0.125 ** coarse[::2, ::2])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """A data set in the layout "folder"."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "scale.json").write_text('{"scale": 1.0}')
    for number in range(12):
        write_pair(folder, f"picture_{number}", number)
    return folder


def options(folder: Path, pairs: Path, *extra: str, new: str | None = "tiny", steps: int = 6) -> list[str]:
    start = ["--new", new] if new else []
    where = ["-o", str(folder), "--data", f"folder:{pairs}", "--steps", str(steps)]
    return [*start, *where, "--workers", "0", *SMALL, *extra]


def run(folder: Path, pairs: Path, *extra: str, **kwargs) -> list[dict]:
    """Train in this process; returns the curve."""
    assert train(parse(make_parser(""), options(folder, pairs, *extra, **kwargs))) == 0
    return read_curve(folder)


def losses(curve: list[dict]) -> list[float]:
    return [line["loss"] for line in curve if "loss" in line]


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory) -> Path:
    """The folder of a short run from fresh weights."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, pairs, steps=20)
    return folder


def assert_falls(curve: list[dict]) -> None:
    assert len(losses(curve)) == 20
    assert np.mean(losses(curve)[-4:]) < 0.85 * np.mean(losses(curve)[:4])


def test_normalised_loss_falls_from_fresh_weights(trained):
    assert_falls(read_curve(trained))


def test_ssi_loss_falls(pairs, tmp_path):
    assert_falls(run(tmp_path / "run", pairs, "--loss", "ssi", steps=20))


def test_silog_loss_falls_and_gives_metres(pairs, tmp_path):
    assert_falls(run(tmp_path / "run", pairs, "--loss", "silog", "--max_depth", "10", steps=20))
    _, model, _ = make_dpt_from_state_dict(tmp_path / "run" / "last.safetensors")
    assert (model.output.quantity, model.output.value_range) == ("metres", (0.0, 10.0))
    assert not model.output.nearest_is_largest


def test_the_unet_trains_and_loads(pairs, tmp_path, capsys):
    assert_falls(run(tmp_path / "run", pairs, "--size", "32", new="unet", steps=20))
    _, model, imgproc = load_unet(tmp_path / "run" / "last.safetensors")
    picture = cv2.imread(str(pairs / "picture_0.png"))
    depth = model.inference(imgproc.prepare_image_bgr(picture))
    assert depth.shape == (1, 32, 48) and depth.min() >= 0 and model.output.quantity == "inverse depth"
    with pytest.raises(ValueError, match="multiples of 16"):
        model(torch.zeros(1, 3, 40, 48))
    run(tmp_path / "more", pairs, "--size", "32", "-m", str(tmp_path / "run" / "last.safetensors"), new=None, steps=1)
    with pytest.raises(CheckpointError):
        make_dpt_from_state_dict(tmp_path / "run" / "last.safetensors")


def test_the_small_hybrid_trains_and_loads(pairs, tmp_path):
    assert_falls(run(tmp_path / "run", pairs, "--size", "32", new="tiny_hybrid", steps=20))
    path = tmp_path / "run" / "last.safetensors"
    config, model, imgproc = make_dpt_from_state_dict(path)
    assert config["encoder"] == "hybrid" and path.stat().st_size < 2 * 16e6  # float32; committed is float16
    assert model.inference(torch.zeros(1, 3, 48, 80)).shape == (1, 48, 80)  # odd grids too
    assert imgproc.network_size(480, 640) == (32, 48)
    run(tmp_path / "more", pairs, "--size", "32", "--picture_side", "64", "-m", str(path), new=None, steps=1)
    assert make_dpt_from_state_dict(tmp_path / "more" / "last.safetensors")[2].network_size(480, 640) == (64, 80)


def test_fresh_filters_see_detail_as_large_as_colour():
    """On rendered scenes no filter's features are tiny beside another's; random filters see the mean colour alone."""
    scenes = SceneSource(seed=0, size_hw=(112, 112)).scenes(range(8)).images
    filters = cosine_filters(192, 3, 14)
    assert filters.shape == (192, 3, 14, 14) and torch.linalg.matrix_rank(filters.flatten(1)) == 192
    tokens = torch.nn.functional.conv2d((scenes - 0.45) / 0.225, filters, stride=14)
    sizes = tokens.std(dim=(0, 2, 3))
    assert 0.5 < sizes.mean() < 2 and sizes.max() / sizes.median() < 8
    random = torch.nn.functional.conv2d((scenes - 0.45) / 0.225, torch.randn(192, 3, 14, 14) / 588**0.5, stride=14)

    def largest_share(features):  # of the variance that one direction has
        flat = features.permute(0, 2, 3, 1).reshape(-1, 192)
        variances = torch.linalg.svdvals(flat - flat.mean(dim=0)) ** 2
        return (variances[0] / variances.sum()).item()

    assert largest_share(tokens) < 0.3 < largest_share(random)


def test_muon_takes_the_encoders_matrices_and_adamw_the_rest(tmp_path, pairs):
    assert_falls(run(tmp_path / "run", pairs, "--optimizer", "muon", steps=20))
    _, model = make_model(parse(make_parser(""), options(tmp_path / "other", pairs)))
    groups = parameter_groups(model, rate=1e-3, encoder_rate=2e-3, weight_decay=0.1)
    adamw, muon = make_optimizers("muon", groups)
    blocks = len(model.imgencoder.blocks)
    of_muon = [weight for group in muon.param_groups for weight in group["params"]]
    of_adamw = [weight for group in adamw.param_groups for weight in group["params"]]
    assert len(of_muon) == 4 * blocks  # query-key-value, projection and two of the MLP
    assert {id(weight) for weight in of_muon + of_adamw} == {id(weight) for weight in model.parameters()}
    assert len(of_muon) + len(of_adamw) == len(list(model.parameters()))
    assert all(group["lr"] == 2e-3 and group["weight_decay"] == 0.1 for group in muon.param_groups)
    assert len(make_optimizers("adamw", groups)) == 1


def test_what_is_no_unet_is_refused(trained):
    with pytest.raises(CheckpointError, match="not a U-Net"):
        load_unet(trained / "last.safetensors")


def predictions(folder: Path, name: str = "last") -> torch.Tensor:
    _, model, imgproc = make_dpt_from_state_dict(folder / f"{name}.safetensors")
    rng = np.random.default_rng(0)
    return model.inference(imgproc.prepare_image_bgr(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)))


def assert_same_training(one: Path, other: Path, *, weights: float = 0.02) -> None:
    """To rounding: sums in another order, which Adam enlarges where gradients are nearly nothing."""
    first, second = read_curve(one), read_curve(other)
    assert [line["step"] for line in first] == [line["step"] for line in second]
    assert losses(first) == pytest.approx(losses(second), rel=1e-3)
    for name in ("last", "best"):
        assert difference(predictions(one, name), predictions(other, name)) < weights


@pytest.mark.parametrize(("workers", "optimizer"), [("0", "muon"), ("1", "adamw")])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(workers, optimizer, pairs, tmp_path, monkeypatch):
    often = [
        "--save_every",
        "3",
        "--val_every",
        "2",
        "--log_every",
        "2",
        "--ema",
        "0.8",
        "--accumulate",
        "2",
        "--workers",
        workers,
        "--optimizer",
        optimizer,
    ]
    whole = run(tmp_path / "whole", pairs, *often, steps=8)

    make_step = loop.Training.make_step

    def killed_at_6(training, batches):
        if training.step == 5:  # the last save was at 3, and step 4 has been validated and logged
            raise KeyboardInterrupt
        return make_step(training, batches)

    monkeypatch.setattr(loop.Training, "make_step", killed_at_6)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", pairs, *often, steps=8)
    monkeypatch.undo()
    with open(tmp_path / "killed" / "curve.jsonl", "a") as curve:
        curve.write('{"step": 6, "lo')  # killed while writing
    torch.manual_seed(123)
    resumed = run(tmp_path / "killed", pairs, *often, "--resume", steps=8)
    assert [line["step"] for line in resumed] == [2, 2, 4, 4, 6, 6, 8, 8]
    for line, expected in zip(
        resumed, whole, strict=True
    ):  # the same to the last bit, mostly; matrix products do not promise it
        assert line == pytest.approx(expected, rel=1e-5)
    assert_same_training(tmp_path / "killed", tmp_path / "whole", weights=1e-3)


def test_resuming_needs_the_same_options_and_starting_an_empty_folder(trained, pairs, tmp_path):
    with pytest.raises(UserError, match="holds a run: pass --resume"):
        run(trained, pairs, steps=20)
    with pytest.raises(UserError, match=r"--rate 0.5 \(was None\)"):
        run(trained, pairs, "--resume", "--rate", "0.5", steps=20)
    with pytest.raises(UserError, match="4 samples in each step, these options give 2"):
        run(trained, pairs, "--resume", "--batch_size", "2", steps=20)
    before = read_curve(trained)
    assert (
        run(trained, pairs, "--resume", "--batch_size", "2", "--accumulate", "2", steps=20) == before
    )  # nothing is left to do
    run(tmp_path / "new", pairs, "--resume", steps=1)  # no run yet: it begins


def test_a_state_that_would_run_code_is_not_opened(pairs, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    (tmp_path / "run").mkdir()
    torch.save({"step": Hostile()}, tmp_path / "run" / "resume.pt")
    with pytest.raises(UserError, match=r"resume\.pt: damaged"):
        run(tmp_path / "run", pairs, "--resume")
    assert not (tmp_path / "executed").exists()


def test_accumulated_batches_equal_a_larger_one(pairs, tmp_path):
    run(tmp_path / "large", pairs)
    run(tmp_path / "small", pairs, "--batch_size", "1", "--accumulate", "4")
    assert_same_training(tmp_path / "large", tmp_path / "small")


def test_two_processes_equal_one_with_twice_the_batch(pairs, tmp_path):
    run(tmp_path / "one", pairs)
    arguments = options(tmp_path / "two", pairs, "--batch_size", "1", "--accumulate", "2", "--threads", "1")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = REPOSITORY / "experiments" / "train_depth.py"
    done = subprocess.run(
        [*launcher, script, *arguments], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "6 steps, 24 samples" in done.stdout and done.stdout.count("results in") == 1
    assert_same_training(tmp_path / "one", tmp_path / "two")


def test_frozen_weights_do_not_change(trained, pairs, tmp_path):
    start = trained / "last.safetensors"
    run(tmp_path / "run", pairs, "-m", str(start), "--freeze", "encoder", "head.conv_1", new=None, steps=2)
    before, after = (read_checkpoint(path).tensors for path in (start, tmp_path / "run" / "last.safetensors"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    frozen = {key for key in before if key.startswith(("patch_embed.", "imgencoder.", "head.conv_1."))}
    assert changed == before.keys() - frozen
    with pytest.raises(UserError, match="--freeze nose: no weight's name begins so"):
        run(tmp_path / "other", pairs, "--freeze", "nose")
    with pytest.raises(UserError, match="nothing is left to train"):
        run(tmp_path / "other", pairs, "--freeze", "encoder", "reassemble", "fusion", "head")


def test_frozen_batch_normalisation_keeps_its_statistics():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3))
    model[0].requires_grad_(False)
    train_mode(model)
    model(torch.randn(4, 3, 5, 5) + 7)
    assert model[0].running_mean.abs().max() == 0 < model[1].running_mean.abs().max()


def test_encoder_and_decoder_have_their_own_rates(pairs, tmp_path):
    arguments = options(
        tmp_path, pairs, "--rate", "1e-3", "--encoder_rate", "1e-4", "--start_ratio", "10", "--warm_up", "0.5"
    )
    with loop.Processes("cpu") as processes:
        training = loop.Training(parse(make_parser(""), arguments), processes)
    names = {id(parameter): name for name, parameter in training.model.named_parameters()}
    seen = []
    for group in training.optimizers[0].param_groups:
        members = [names[id(parameter)] for parameter in group["params"]]
        of_encoder = {name.startswith(("patch_embed.", "imgencoder.")) for name in members}
        assert len(of_encoder) == 1
        seen += members
        assert group["max_lr"] == (1e-4 if of_encoder.pop() else 1e-3)
        assert group["lr"] == pytest.approx(group["max_lr"] / 10)
        if group["weight_decay"]:
            assert all(name.endswith("weight") and "norm" not in name for name in members)
    assert sorted(seen) == sorted(names.values())
    rates = []
    for _ in range(6):
        rates.append(training.optimizers[0].param_groups[0]["lr"])
        training.optimizers[0].step()
        training.schedules[0].step()
    assert np.argmax(rates) in (2, 3) and rates[-1] < 0.2 * max(rates)


def test_a_loss_that_is_not_a_number_stops_the_run(pairs, tmp_path, monkeypatch):
    batch_loss = loop.Training.batch_loss
    monkeypatch.setattr(
        loop.Training,
        "batch_loss",
        lambda training, batch: batch_loss(training, batch) * (torch.nan if training.step == 4 else 1),
    )
    with pytest.raises(UserError, match=r"step 5: the loss is nan .*resume\.pt has the last good weights"):
        run(tmp_path / "run", pairs, "--save_every", "2")
    assert [line["step"] for line in read_curve(tmp_path / "run")] == [1, 2, 3, 4]
    monkeypatch.undo()
    assert [line["step"] for line in run(tmp_path / "run", pairs, "--save_every", "2", "--resume")] == [
        1,
        2,
        3,
        4,
        5,
        6,
        6,
    ]


def test_too_large_a_rate_stops_the_run(pairs, tmp_path):
    with pytest.raises(UserError, match="stopped before the weights were changed by it .nothing had been saved yet"):
        run(tmp_path / "run", pairs, "--rate", "1e30", "--start_ratio", "1")


def test_a_config_file_and_options_that_go_before_it(pairs, tmp_path):
    config = tmp_path / "config.json"
    values = {
        "new": "tiny",
        "rate": 0.002,
        "size": [28, 42],
        "flip": False,
        "bf16": True,
        "ema": 0.5,
        "max_depth": None,
    }
    config.write_text(json.dumps(values))
    args = parse(make_parser(""), ["--config", str(config), "-o", "run", "--rate", "0.1", "--no-bf16"])
    assert (args.new, args.size, args.flip, args.ema, args.max_depth) == ("tiny", [28, 42], False, 0.5, None)
    assert (args.rate, args.bf16, args.output_folder) == (0.1, False, "run")
    args = parse(make_parser(""), ["--config", str(config), "-o", "run", "-m", "model.pth"])
    assert (args.new, args.model_path, args.rate) == (None, "model.pth", 0.002)


def test_every_size_of_a_new_model_is_an_option():
    assert NEW_MODELS == (*DPT_SIZES, "unet")


def test_a_run_can_be_repeated_from_its_config(trained, pairs, tmp_path):
    arguments = ["--config", str(trained / "config.json"), "-o", str(tmp_path / "run")]
    assert train(parse(make_parser(""), arguments)) == 0
    assert_same_training(tmp_path / "run", trained)


@pytest.mark.parametrize(
    "config, message",
    [
        ('{"rate": "fast", "new": "tiny"}', "argument --rate: invalid positive value: 'fast'"),
        ('{"speed": 1}', "no such option: speed"),
        ('{"flip": "no"}', "flip is 'no'; expected true or false"),
        ("[1]", "expected a JSON object"),
        ("{", "cannot be read"),
        ("{}", "either --new with a size, or -m"),
        ('{"new": "tiny", "model_path": "x"}', "either --new with a size, or -m"),
        ('{"new": "tiny", "size": [28, 28, 28]}', "expected one side, or height and width"),
    ],
)
def test_config_files_that_cannot_be_used(config, message, tmp_path, capsys):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(SystemExit):
        parse(make_parser(""), ["--config", str(tmp_path / "config.json"), "-o", "run"])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "config", sorted((REPOSITORY / "experiments" / "configs").glob("*.json")), ids=lambda path: path.stem
)
def test_configs_of_the_project_are_options(config):
    args = parse(make_parser(""), ["--config", str(config), "-o", "run"])
    for name, value in json.loads(config.read_text()).items():
        assert getattr(args, name) == value


def test_saved_models_are_like_any_other(pairs, tmp_path):
    """The same numbers after loading, half the file as float16, and a note on how they came about."""
    args = parse(make_parser(""), options(tmp_path / "run", pairs, "--size", "28", "42"))
    with loop.Processes("cpu") as processes:
        training = loop.Training(args, processes)
        training.run()
    config, model, imgproc = make_dpt_from_state_dict(tmp_path / "run" / "last.safetensors")
    image = torch.rand(1, 3, 42, 56)
    assert torch.equal(model.inference(image), training.model.eval().inference(image))
    assert config["model_type"] == "plain-dpt" and imgproc.rule.side == 28
    assert config["training"]["samples"] == 24 and config["training"]["size"] == [28, 42]
    args.file_dtype = "float16"
    training.export("half.safetensors")
    _, half, _ = make_dpt_from_state_dict(tmp_path / "run" / "half.safetensors")
    assert difference(half.inference(image), model.inference(image)) < 0.02
    assert (tmp_path / "run" / "half.safetensors").stat().st_size < 16e6
    assert next(training.model.parameters()).dtype == torch.float32


def test_released_models_can_be_trained(small_file, pairs, tmp_path):
    """For metres, its last layer starts anew and everything else from what was there."""
    more = ["-m", str(small_file), "--loss", "silog", "--max_depth", "10", "--encoder_rate", "1e-12", "--rate", "1e-12"]
    run(tmp_path / "run", pairs, *more, new=None, steps=1)
    config, model, imgproc = make_dpt_from_state_dict(tmp_path / "run" / "last.safetensors")
    _, before, _ = make_dpt_from_state_dict(small_file)
    assert (config["model_type"], imgproc.rule.side, model.head.activation) == ("depth-anything-v2", 28, "sigmoid")
    for (key, old), new in zip(before.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.allclose(old, new) != key.startswith("head.conv_3")
    with pytest.raises(UserError, match="say up to how many with --max_depth"):
        run(tmp_path / "other", pairs, "-m", str(small_file), "--loss", "silog", new=None)
    with pytest.raises(UserError, match="--size 30 30: both sides must be multiples of 14"):
        run(tmp_path / "other", pairs, "-m", str(small_file), "--size", "30", new=None)


def test_mixed_precision_learns_the_same(trained, pairs, tmp_path):
    curve = run(tmp_path / "run", pairs, "--bf16", steps=20)
    assert_falls(curve)
    assert losses(curve)[0] == pytest.approx(losses(read_curve(trained))[0], rel=0.02)


def test_what_a_run_writes(pairs, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curve = run(tmp_path / "run", pairs, "--tensorboard", "--val_every", "3")
    panels = cv2.imread(str(tmp_path / "run" / "panels.png"))
    assert panels.shape == (2 * 192, 3 * 288, 3)  # two examples of 40 x 60: picture, truth, prediction
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses(curve))
    assert [event.step for event in events.Scalars("delta1")] == [3, 6]
    assert len(events.Images("picture, truth, prediction")) == 2
    names = {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith("events")}
    assert names == {"config.json", "curve.jsonl", "best.safetensors", "last.safetensors", "resume.pt", "panels.png"}


def test_the_script_says_in_one_sentence_what_is_wrong(tmp_path):
    script = [sys.executable, REPOSITORY / "experiments" / "train_depth.py"]
    arguments = ["--new", "tiny", "-o", tmp_path / "run", "--data", f"folder:{tmp_path / 'nowhere'}", "--device", "cpu"]
    done = subprocess.run([*script, *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().endswith("nowhere: no such file or folder")
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_named_and_other_errors_are_not_hidden(pairs, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    args = parse(make_parser(""), options(tmp_path / "file" / "run", pairs, steps=1))
    assert run_script(train_depth.main, args) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path / 'file'}" in told and "the run cannot be kept there" in told and "Traceback" not in told

    def fail(args):
        raise FileNotFoundError(2, "No such file or directory", "/somewhere/else.csv")

    monkeypatch.setattr(loop, "train", fail)
    with pytest.raises(FileNotFoundError):
        train_depth.main(args)
