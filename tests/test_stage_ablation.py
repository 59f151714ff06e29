"""Dropped and shuffled parts: the same as weights set to zero, the model untouched, every family; the script and its window."""

import copy
import csv
import json

import cv2
import numpy as np
import pytest
import torch

from experiments import stage_ablation
from experiments.ablation import MODES, Part, ablate, find_parts, shuffle
from experiments.ablation_results import measure_parts, movement, predict_without
from lib.dpt_model import DPTModel
from lib.encoders.hybrid import Bottleneck
from lib.encoders.swin import SwinBlock
from tests.conftest import REPOSITORY, make_picture
from tests.experiment_models import (  # noqa: F401 (fixtures)
    FAMILIES,
    assert_help_is_light,
    family_model,
    loaded_model,
    run_main,
    two_pictures,
)
from tests.image_script import names, write_picture


def zero_block(dpt_model: DPTModel, part: Part) -> DPTModel:
    """Another way to drop a block: a copy of the model whose last layers in the block have no weights."""
    copied = copy.deepcopy(dpt_model)
    block = copied.get_submodule(part.path)
    if isinstance(block, Bottleneck):
        silent = [block.norm_3]
    elif isinstance(block, SwinBlock):
        silent = [block.norm_1, block.norm_2] if block.norms_after else [block.attention.project, block.feed_forward.contract]
    elif hasattr(block, "feed_forward"):
        silent = [block.attention.project, block.feed_forward.contract]
    else:  # LeViT: batch norms behind its linear layers
        last = block.project if hasattr(block, "project") else block.contract
        silent = [next(module for module in last.modules() if isinstance(module, torch.nn.BatchNorm1d))]
    with torch.no_grad():
        for layer in silent:
            layer.weight.zero_()
            layer.bias.zero_()
    return copied


def zero_head(dpt_model: DPTModel, part: Part) -> DPTModel:
    """Another way to drop a head: a copy of the model whose last attention layer does not read it."""
    copied = copy.deepcopy(dpt_model)
    project = copied.get_submodule(part.path)
    linear = project if isinstance(project, torch.nn.Linear) else next(
        module for module in project.modules() if isinstance(module, torch.nn.Linear)
    )  # fmt: skip
    heads = copied.get_submodule(part.path.rsplit(".", 1)[0]).heads
    width = linear.weight.shape[1] // heads
    with torch.no_grad():
        linear.weight[:, part.head * width : (part.head + 1) * width] = 0
    return copied


def test_parts_of_every_family(small_file):
    blocks, heads = {}, {}
    for family in FAMILIES:
        dpt_model = loaded_model(family, small_file).dpt_model
        blocks[family], heads[family] = find_parts(dpt_model), find_parts(dpt_model, heads=True)
        assert len({part.name for part in blocks[family]}) == len(blocks[family])
    counts = {family: (len(blocks[family]), len(heads[family])) for family in FAMILIES}
    swin = (8, 2 * (1 + 2 + 4 + 8))
    assert counts["vit"] == counts["beit"] == (4, 8) and counts["swin"] == counts["swin2"] == swin
    assert counts["hybrid"] == (3 + 4, 8)
    assert counts["levit"] == (12, 2 * 2 + 2 * 3 + 4)  # fourteen layers up to the last tap, of which two shrink the grid
    assert heads["beit"][3].name == "blocks.1 head 1" and blocks["swin2"][-1].name == "stages.3.1"
    assert blocks["hybrid"][0].name == "stages.0.0" and not blocks["hybrid"][0].has_class_token


def test_dropping_is_the_same_as_no_weights(family_model):  # noqa: F811
    dpt_model, picture = family_model.dpt_model, make_picture(96, 128)
    own = family_model.predict([picture])[0].depth
    image = family_model.dpt_imgproc.prepare_image_bgr(picture, family_model.max_side_length)
    blocks, heads = find_parts(dpt_model), find_parts(dpt_model, heads=True)
    cases = [(part, zero_block) for part in (*blocks[:2], blocks[-1])] + [(part, zero_head) for part in (heads[1], heads[-1])]
    for part, zeroed in cases:
        expected = zeroed(dpt_model, part).inference(image)
        ours = ablate(dpt_model, part, "drop").inference(image)
        torch.testing.assert_close(ours, expected, atol=1e-4 * float(expected.std()), rtol=0)
        depth = predict_without(family_model, picture, part, "drop").depth
        assert depth.shape == picture.shape[:2] and np.abs(depth - own).max() > 0


def test_shuffling_moves_what_is_added_and_nothing_else(family_model, monkeypatch):  # noqa: F811
    dpt_model, picture = family_model.dpt_model, make_picture(96, 128)
    image = family_model.dpt_imgproc.prepare_image_bgr(picture, family_model.max_side_length)
    own = dpt_model.inference(image)
    blocks, heads = find_parts(dpt_model), find_parts(dpt_model, heads=True)
    for part in (blocks[0], blocks[-1], heads[0], heads[-1]):
        shuffled = ablate(dpt_model, part, "shuffle").inference(image)
        assert torch.equal(ablate(dpt_model, part, "shuffle").inference(image), shuffled)  # always the same order
        assert not torch.equal(shuffled, own)
    monkeypatch.setattr(torch, "randperm", lambda count, generator: torch.arange(count))  # no shuffling after all
    for part in (blocks[0], blocks[-1], heads[0], heads[-1]):
        kept = ablate(dpt_model, part, "shuffle").inference(image)
        torch.testing.assert_close(kept, own, atol=1e-4 * float(own.std()), rtol=0)


def test_shuffle_keeps_the_class_token():
    values = torch.arange(50.0)[None, :, None]
    moved = shuffle(values, dim=1, keeps_first=True).flatten()
    assert moved[0] == 0 and sorted(moved.tolist()) == list(range(50)) and moved.tolist() != list(range(50))


def test_the_model_is_left_as_it_was(family_model):  # noqa: F811
    dpt_model, picture = family_model.dpt_model, make_picture(96, 128)
    modules, tensors = list(dpt_model.modules()), {key: value.clone() for key, value in dpt_model.state_dict().items()}
    own = family_model.predict([picture])[0].depth
    measure_parts(family_model, picture, find_parts(dpt_model)[:2] + find_parts(dpt_model, heads=True)[-2:], MODES)
    after = list(dpt_model.modules())
    assert len(after) == len(modules) and all(one is other for one, other in zip(after, modules, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in after)
    assert all(torch.equal(value, tensors[key]) for key, value in dpt_model.state_dict().items())
    assert np.array_equal(family_model.predict([picture])[0].depth, own)
    changed = ablate(dpt_model, find_parts(dpt_model)[0], "drop")
    assert {id(weight) for weight in changed.parameters()} == {id(weight) for weight in dpt_model.parameters()}


def test_movement():
    own = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    same = movement(3 * own - 5, own)  # another scale and shift are no movement to relative depth
    assert same["correlation"] == pytest.approx(1) and same["aligned_error"] < 1e-6 and same["raw_error"] > 0.5
    flat = movement(np.full_like(own, 2), own)
    assert flat["correlation"] == 0 and flat["aligned_error"] > 0.1
    assert movement(np.full_like(own, np.nan), own)["aligned_error"] == pytest.approx(flat["aligned_error"])


def test_script_writes_tables_and_plots(family_model, two_pictures, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    kinds = ["blocks", "heads"] if family_model.name in ("beit", "levit") else ["blocks"]
    assert run_main(stage_ablation, "-i", tmp_path / "in", "-o", out, "--parts", *kinds, "--modes", "drop") == 1  # c.png
    assert "c.png: damaged" in capsys.readouterr().err
    tables = {f"ablation_{kind}.{ending}" for kind in kinds for ending in ("csv", "md", "png")}
    assert names(out) == tables | {stem + suffix for stem in ("a", "sub/b") for suffix in stage_ablation.SUFFIXES}

    for kind in kinds:
        parts = find_parts(family_model.dpt_model, heads=kind == "heads")
        rows = list(csv.DictReader((out / f"ablation_{kind}.csv").open()))
        assert [(row["block"], row["head"]) for row in rows] == [
            (p.block, "" if p.head is None else str(p.head)) for p in parts
        ]
        assert cv2.imread(str(out / f"ablation_{kind}.png")).size
        own = [family_model.predict([picture])[0].depth for picture in two_pictures]
        changed = [predict_without(family_model, picture, parts[1], "drop").depth for picture in two_pictures]
        expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(changed, own, strict=True)]
        assert float(rows[1]["correlation"]) == pytest.approx(np.mean(expected), abs=1e-6)
        strongest = max(rows, key=lambda row: float(row["aligned_error"]))
        first = (out / f"ablation_{kind}.md").read_text().split("---:|\n")[1].splitlines()[0]
        assert first.startswith(f"| {strongest['block']}")
    facts = json.loads((out / "sub" / "b_ablation.json").read_text())
    assert len(facts["blocks"]) == len(find_parts(family_model.dpt_model)) and facts["picture"] == "sub/b.png"


def test_window_without_a_screen(small_file, tmp_path, monkeypatch):
    """What the window computes and shows; that windows open is tested with fusion_scaling.py."""
    from experiments.ablation_window import BLOCK_BAR, HEAD_BAR, AblationWindow
    from lib.demo.pictures import find_pictures

    model = loaded_model("dinov2", small_file)
    files = find_pictures([str(write_picture(tmp_path / "a.png", make_picture(90, 120)))])
    window = AblationWindow(files, model, stage_ablation.parse_args(["-s", "700"]))
    places = {BLOCK_BAR: 2, HEAD_BAR: 0}
    monkeypatch.setattr(window, "value_of", places.get)
    window.open_picture(0)
    assert {label for label, _, _ in window.bars()} == set(places)
    for head, mode, name in ((0, "drop", "drop blocks.2"), (2, "shuffle", "shuffle blocks.2 head 1")):
        places[HEAD_BAR] = head
        if mode != window.mode:
            window.press("m")
        window.result = window.compute(window.image_bgr, window.question())
        pictures, lines = window.view()
        assert lines[0].startswith(f"{name}:  aligned error") and [picture.shape for picture in pictures] == [(90, 120, 3)] * 2
        assert not np.array_equal(*pictures)
        window.press("d")
        assert not np.array_equal(window.view()[0][1], pictures[1])
        window.press("d")
    window.save(tmp_path / "kept")
    assert json.loads((tmp_path / "kept_ablation.json").read_text())["blocks"][0]["head"] == 1


def test_an_engine_is_refused_before_its_export(tmp_path, capsys):
    assert run_main(stage_ablation, "-o", tmp_path / "out", "--engine", "openvino") == 1
    told = capsys.readouterr().err
    assert "--engine openvino: this script looks inside the model" in told and told.count("\n") == 1


def test_help_is_instant():
    assert_help_is_light(REPOSITORY / "experiments" / "stage_ablation.py")
