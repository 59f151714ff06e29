"""Exported networks compute what PyTorch computes, at every size and batch, and say what they are."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.demo.onnx_export import export_network, exportable, facts_of, resize_matrix
from lib.demo.onnx_metadata import OnnxFacts, read_facts
from lib.dpt_model import DPTModel, OutputKind, build_dpt
from lib.encoders.vit import resize_position_table
from lib.errors import UserError
from lib.image_processor import DPTImageProcessor, PictureRule
from lib.predict import predict_depth
from tests.conftest import SAME, difference, make_picture
from tests.midas import OUTPUT, calibrate, images, seed_weights
from tests.midas import _decoder as decoder

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

BLOCKS = {"features": 32, "heads": 2, "hidden": 64, "num_blocks": 2, "taps": [0, 1], "table_side": 4}
VIT = BLOCKS | {"layer_scale": False, "final_norm": False, "position_mode": "bilinear", "position_offset": 0.0}
ONE_BLOCK = {"num_blocks": 1, "taps": [0]}


def of_blocks(encoder: str, settings: dict, patch_size: int, readout: str) -> dict:
    num_stages = len(settings["taps"])
    return {
        "encoder": encoder,
        "patch_embed": {"features": 32, "patch_size": patch_size},
        "imgencoder": settings,
        **small(decoder([32] * num_stages, [readout] * num_stages, [2, 1][-num_stages:])),
    }


def swin(*, is_v2: bool, num_stages: int) -> dict:
    windows = [4, 4][:num_stages]
    encoder = {"features": 16, "depths": [2, 1], "heads": [1, 2], "windows": windows, "windows_per_side": [2, 1]}
    encoder = {name: setting[:num_stages] if isinstance(setting, list) else setting for name, setting in encoder.items()}
    return {
        "encoder": "swin",
        "patch_embed": {"features": 16, "patch_size": 4, "norm": True},
        "imgencoder": encoder | {"coordinate_windows": windows if is_v2 else None},
        **small(decoder([16, 32][:num_stages], [None] * num_stages, [1] * num_stages)),
    }


def small(sections: dict) -> dict:
    """The decoder for as many stages as there are."""
    sections["fusion"]["num_stages"] = len(sections["reassemble"]["scales"])
    return sections


HYBRID = {
    "encoder": "hybrid",
    "patch_embed": {"channels": 64},
    "imgencoder": {"stem_channels": 64, "depths": [1, 1, 1], "vit": VIT | ONE_BLOCK},
    **small(decoder([256, 512, 32], [None, None, "project"], [1, 1, 1])),
}
LEVIT_DECODER = small(decoder([64, 96], [None] * 2, [1] * 2))
LEVIT = {
    "encoder": "levit",
    "patch_embed": {"channels": [8, 16, 32, 64], "image_size": 128},
    "imgencoder": {"widths": [64, 96], "heads": [2, 3], "depth": 1, "side": 8, "taps": [1, 5]},
    **(LEVIT_DECODER | {"head": LEVIT_DECODER["head"] | {"stem_channels": [24, 16]}}),
}
# family: (config, multiple of the sides)
FAMILIES = {
    "vit": (of_blocks("vit", VIT, 16, "project"), 16),
    "dinov2": (of_blocks("vit", BLOCKS, 14, "ignore"), 14),  # bicubic positions with the offset
    "beit": (of_blocks("beit", BLOCKS | ONE_BLOCK, 16, "project"), 16),
    "swin2": (swin(is_v2=True, num_stages=1), 8),
    "swin": (swin(is_v2=False, num_stages=2), 8),
    "hybrid": (HYBRID, 16),
    "levit": (LEVIT, None),
}
GRIDS = [(1, 4, 4), (2, 5, 7), (1, 9, 4)]  # batch, and multiples of the sides; the first is the tables' own size


def make_model(family: str) -> DPTModel:
    config, multiple = FAMILIES[family]
    model = seed_weights(build_dpt(config | {"output": OUTPUT})).eval()
    side = 128 if multiple is None else 8 * multiple
    calibrate(model.head.conv_3, lambda: model(images(side, side)))
    model.set_cache(True)
    return model


def facts_for(model: DPTModel, **more) -> OnnxFacts:
    rule = PictureRule(side=64, multiple=more.pop("rule_multiple", 16))
    return facts_of(model, {"model_type": "plain-dpt"}, rule, weights="some.pth", summary="a summary", **more)


def run_file(path: Path, image: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])


@pytest.mark.parametrize("family", ["beit", "swin2", "levit"])  # test_engines.py has DINOv2
def test_families_at_every_size(family, tmp_path):
    model = make_model(family)
    facts = facts_for(model)
    multiple = FAMILIES[family][1]
    assert facts.multiple == multiple
    path = export_network(model, tmp_path / "new" / f"{family}.onnx", facts)
    assert read_facts(path) == facts and [file.name for file in path.parent.iterdir()] == [path.name]
    sizes = [(batch, 128, 128) for batch in (1, 3)]
    if multiple is not None:
        sizes = [(batch, rows * multiple, columns * multiple) for batch, rows, columns in GRIDS]
    for batch, height, width in sizes:
        image = images(height, width, batch)
        assert difference(run_file(path, image), model.inference(image)) < SAME, (batch, height, width)


@pytest.mark.parametrize("family", ["swin", "hybrid"])  # one size is exported faster than every size
def test_families_at_one_size(family, tmp_path):
    model = make_model(family)
    sides = (5 * FAMILIES[family][1], 6 * FAMILIES[family][1])
    path = export_network(model, tmp_path / f"{family}.onnx", facts_for(model, fixed_hw=sides))
    for batch in (1, 3):
        image = images(*sides, batch)
        assert difference(run_file(path, image), model.inference(image)) < SAME, batch


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("grid_hw", [(4, 4), (5, 7), (2, 9), (37, 3), (4, 8)])
def test_positions_by_matrices_are_the_resized_positions(mode, offset, grid_hw):
    model = make_model("dinov2")
    encoder, positions = model.imgencoder, exportable(model).imgencoder.position_cache
    table = encoder.position_table.detach()
    expected = resize_position_table(table[:, 1:], grid_hw, mode=mode, offset=offset)
    ours = positions(None, weights=[table], key=(grid_hw, mode, offset))
    assert torch.equal(ours[:, :1], table[:, :1])
    assert difference(ours[:, 1:], expected) < 1e-5


def test_a_resize_matrix_spreads_one():
    matrix = resize_matrix(4, 7, torch.tensor(4 / 7), "bicubic")
    assert matrix.shape == (7, 4) and torch.allclose(matrix.sum(1), torch.ones(7))
    assert torch.equal(resize_matrix(4, 4, torch.tensor(1.0), "bilinear"), torch.eye(4))


def test_the_exported_copy_shares_the_weights_and_leaves_the_model_alone():
    model = make_model("dinov2")
    image = images(56, 70)
    before = model.inference(image)
    network = exportable(model)
    assert all(a is b for a, b in zip(network.parameters(), model.parameters(), strict=True))
    assert model.cache_bytes() > 0 and model.imgencoder.blocks[0].attention.fused
    assert torch.equal(model.inference(image), before)
    assert difference(network(image), before) < SAME


@pytest.fixture(scope="module")
def dinov2() -> DPTModel:
    return make_model("dinov2")


@pytest.fixture(scope="module")
def fixed_file(dinov2, tmp_path_factory) -> Path:
    """A file for 56 x 70 pixels."""
    path = tmp_path_factory.mktemp("exported") / "fixed.onnx"
    return export_network(dinov2, path, facts_for(dinov2, fixed_hw=(56, 70), rule_multiple=14))


def test_a_fixed_size(dinov2, fixed_file):
    assert read_facts(fixed_file).fixed_hw == (56, 70)
    for batch in (1, 3):
        image = images(56, 70, batch)
        assert difference(run_file(fixed_file, image), dinov2.inference(image)) < SAME
    with pytest.raises(Exception, match="[Dd]imension"):
        run_file(fixed_file, images(70, 70))


def test_a_size_that_the_network_cannot_do(dinov2, tmp_path):
    with pytest.raises(UserError, match="multiples of 14"):
        export_network(dinov2, tmp_path / "x.onnx", facts_for(dinov2, fixed_hw=(50, 56)))
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.fixture(scope="module")
def open_file(tmp_path_factory) -> Path:
    """A stand-in for a network, for any size: the mean of the channels, and one more."""
    import onnx

    text = """
    network (float[batch, 3, height, width] image) => (float[batch, height, width] depth) {
        axis = Constant <value = int64[1] {1}> ()
        mean = ReduceMean <keepdims = 0> (image, axis)
        depth = Exp (mean)
    }"""
    graph = onnx.parser.parse_graph(text)
    opsets = [onnx.helper.make_opsetid("", 18)]
    path = tmp_path_factory.mktemp("stand-in") / "network.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


class StandIn:
    """The same in PyTorch."""

    output = OutputKind("inverse depth", True, (0.0, float("inf")))

    def inference(self, image):
        return image.mean(1).exp()


RULES = [
    PictureRule(side=44, multiple=14),
    PictureRule(side=48, multiple=16, fit="minimal", restore="bicubic"),
    PictureRule(side=44, multiple=16, fit="upper_bound", restore="bilinear"),
    PictureRule(side=48, multiple=16, fit="stretch", width=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    PictureRule(side=48, multiple=16, fit="fixed"),
    PictureRule(side=48, multiple=14, fit="pad"),
    PictureRule(side=48, multiple=16, resample="bilinear_corners"),
]
SIZINGS = [{}, {"max_side_length": 74}, {"use_square_sizing": True}]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.fit}-{rule.resample}")
@pytest.mark.parametrize("sizing", SIZINGS, ids=lambda sizing: "-".join(sizing) or "plain")
def test_pictures_built_in(engine, rule, sizing, open_file, tmp_path):
    import onnx

    from lib.demo.engines import EngineModel, processor_of
    from lib.demo.onnx_picture import with_pictures

    pytest.importorskip(engine)
    if sizing and rule.fit in ("fixed", "pad"):
        pytest.skip("such models have one size, or none to choose")
    picture = {**asdict(rule), "mean": list(rule.mean), "std": list(rule.std)}
    output = {"quantity": "inverse depth", "nearest_is_largest": True, "value_range": [0.0, None]}
    facts = OnnxFacts("n", "w", "s", output, picture, rule.multiple, takes_pictures=True, **sizing)
    whole = with_pictures(onnx.load(open_file), facts)
    onnx.helper.set_model_props(whole, facts.as_metadata())
    onnx.save(whole, tmp_path / "pictures.onnx")
    model = EngineModel(tmp_path / "pictures.onnx", engine=engine)
    for height, width in ((60, 80), (91, 47), (48, 48)):
        image_bgr = make_picture(height, width)
        expected = predict_depth(StandIn(), DPTImageProcessor(rule), image_bgr, **sizing).depth
        ours = predict_depth(model, processor_of(model.facts, model.facts.rule), image_bgr).depth
        assert ours.shape == expected.shape and np.abs(ours - expected).max() < SAME * expected.std()


@pytest.mark.parametrize("change", [{"reflect_padding": True}, {"flip_average": True}, {"resample": "antialiased_cubic"}])
def test_what_no_file_can_have_built_in(change, dinov2):
    from lib.demo.onnx_picture import with_pictures

    facts = facts_for(dinov2)
    with pytest.raises(UserError, match="--pictures"):
        with_pictures(None, replace(facts, picture=facts.picture | change))


def test_the_metadata_are_read_without_the_weights(fixed_file):
    import onnx

    everything = {entry.key: entry.value for entry in onnx.load(fixed_file).metadata_props}
    assert json.loads(everything["plain_dpt"])["weights"] == "some.pth"
    assert everything["quantity"] == "inverse depth" and everything["value_range"] == "0 to infinity"


def test_every_cut_and_garbled_file_is_refused(fixed_file, tmp_path):
    whole = fixed_file.read_bytes()
    damaged = [whole[:length] for length in (0, 1, 5, 1000, len(whole) // 2, len(whole) - 1)]
    damaged += [b"\xff" * 400, b"not a network", b"\x80" * 20, whole.replace(b"value_range", b"walue_range")]
    damaged += [whole.replace(b'"precision": "float32"', b'"precision": "float99"')]
    for content in damaged:
        path = tmp_path / "damaged.onnx"
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged.onnx"):
            read_facts(path)


def command_line(*arguments: object) -> int:
    from experiments import export_onnx
    from lib.demo.script import run_script

    return run_script(export_onnx.main, export_onnx.parse_args([str(argument) for argument in arguments]))


def test_the_script_writes_checks_and_reports(small_file, tmp_path, capsys, monkeypatch):
    from experiments import export_onnx

    monkeypatch.setattr(export_onnx, "CHECKED_PICTURES", ((60, 80),))
    pytest.importorskip("openvino")
    options = ("--sizes", "56x70", "--pictures", "--precision", "float32", "int8", "--runtime", "onnxruntime", "openvino")
    assert command_line("-m", small_file, "-o", tmp_path, *options) == 0
    exact, rough = sorted(tmp_path.glob("*.onnx"), key=lambda file: "int8" in file.name)
    assert rough.stat().st_size < 0.8 * exact.stat().st_size and read_facts(rough).precision == "int8"
    lines = [line for line in capsys.readouterr().out.splitlines() if " error " in line]
    assert len(lines) == 4 and [line.endswith("ok") for line in lines] == [True, True, False, False]
    errors = [float(line.split("error ")[1].split()[0]) for line in lines]
    assert max(errors[:2]) < SAME < min(errors[2:]) and max(errors[2:]) < 0.5


def test_a_wrong_file_does_not_pass(small_file, tmp_path, monkeypatch, capsys):
    from experiments import export_onnx
    from lib.demo import onnx_export

    monkeypatch.setattr(export_onnx, "BATCHES", (1,))
    honest = onnx_export.exportable

    def wrong(model):
        network = honest(model)
        network.head.scale = 1.01
        return network

    monkeypatch.setattr(onnx_export, "exportable", wrong)
    assert command_line("-m", small_file, "-o", tmp_path, "--sizes", "56x56") == 1
    assert "TOO LARGE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-b", "70"], "--pictures"),
        (["--sizes", "50x70"], "multiples of 14"),
        (["--sizes", "70x70", "--square", "--pictures"], "--sizes"),
        (["-m", "nothing.pth"], "nothing.pth"),
    ],
)
def test_the_script_refuses_in_one_sentence(options, told, small_file, tmp_path, capsys):
    assert command_line("-m", small_file, "-o", tmp_path, *options) == 1
    assert told in capsys.readouterr().err and not list(tmp_path.glob("*.onnx"))


def test_a_missing_package_is_named(small_file, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert command_line("-m", small_file, "-o", tmp_path) == 1
    assert "pip install onnxscript" in capsys.readouterr().err
