"""Stage by stage and end to end against the `transformers` package: the same weights, the same folder on disk."""

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
from transformers.modeling_outputs import DepthEstimatorOutput

try:
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
except ImportError:  # before version 5, the only one was the one on PIL
    from transformers import DPTImageProcessor as DPTImageProcessorPil

from lib.errors import UserError
from lib.image_processor import IMAGENET_MEAN, IMAGENET_STD
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth
from tests.conftest import SAME, difference, make_picture, with_garbage
from tests.reference import synthetic_checkpoint

V1_STAGES, V2_STAGES = (3, 4, 5, 6), (1, 3, 4, 6)  # counted from 1; V1 taps the last four blocks
VARIANTS = {
    "relative": {},
    "metric": {"depth_estimation_type": "metric", "max_depth": 20},
    "unpublished range": {"depth_estimation_type": "metric", "max_depth": 7},
    "SwiGLU": {"backbone": {"use_swiglu_ffn": True}},
    "V1": {"backbone": {"out_indices": V1_STAGES}},
    "32 features per head": {"backbone": {"num_attention_heads": 4}},
    "48 features per head": {"backbone": {"hidden_size": 96}},
    "16 features per head": {"backbone": {"hidden_size": 192, "num_attention_heads": 12}},
    "other norm": {"backbone": {"layer_norm_eps": 1e-3}},
}
# 5 x 9 patches, 8 x 8 (the position table's own grid), and 4 x 16 (as many patches, but another grid)
SIZES = [(70, 126), (112, 112), (56, 224)]


@cache
def reference_model(variant: str = "relative") -> DepthAnythingForDepthEstimation:
    """A small model with seeded weights, scaled so that its output is neither flat nor clipped."""
    changes = {"depth_estimation_type": "relative", **VARIANTS[variant]}
    backbone = {"hidden_size": 128, "num_attention_heads": 2, "out_indices": V2_STAGES} | changes.pop("backbone", {})
    config = DepthAnythingConfig(
        backbone_config=Dinov2Config(
            num_hidden_layers=6, image_size=112, patch_size=14, reshape_hidden_states=False, **backbone
        ),
        reassemble_hidden_size=backbone["hidden_size"],
        neck_hidden_sizes=[16, 32, 64, 128],
        fusion_hidden_size=32,
        **changes,
    )
    model = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.from_numpy(synthetic_checkpoint.seeded_normal(name, 0, parameter.shape))
            if parameter.dim() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(0.3 * noise)
        model.head.conv3.bias.fill_(1 if changes["depth_estimation_type"] == "relative" else 0)
    return model


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """folder_of(VARIANT) -> the folder that save_pretrained writes for this variant."""
    root = tmp_path_factory.mktemp("folders")

    def save(variant: str = "relative") -> Path:
        folder = root / variant
        if not folder.exists():
            reference_model(variant).save_pretrained(folder)
        return folder

    return save


def images(height: int, width: int, batch: int = 2) -> torch.Tensor:
    return synthetic_checkpoint.model_input("transformers", height, width, batch=batch)


@torch.no_grad()
def reference_depth(model: DepthAnythingForDepthEstimation, image: torch.Tensor) -> torch.Tensor:
    depth = model(image).predicted_depth
    assert depth.std() > 0.1 and (depth > 0).float().mean() > 0.7  # a reference that could hide errors shows nothing
    return depth


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_same_depth(folder_of, variant, size):
    _, model, _ = make_dpt_from_state_dict(folder_of(variant))
    image = images(*size)
    assert difference(model.inference(image), reference_depth(reference_model(variant), image)) <= SAME


@pytest.mark.parametrize("options", [{"enable_cache": False}, {"enable_optimizations": False}], ids=str)
def test_same_depth_uncached_and_with_plain_attention(folder_of, options):
    _, model, _ = make_dpt_from_state_dict(folder_of(), **options)
    image = images(70, 126)
    assert difference(model.inference(image), reference_depth(reference_model(), image)) <= SAME


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("variant", ["relative", "metric", "SwiGLU", "V1"])
@torch.no_grad()
def test_every_step_gives_what_its_counterpart_gives(folder_of, variant, size):
    _, ours, _ = make_dpt_from_state_dict(folder_of(variant))
    theirs = reference_model(variant)
    image = images(*size)
    grid_hw = (size[0] // 14, size[1] // 14)

    tokens, our_grid = ours.patch_embed(image)
    class_token = ours.imgencoder.class_token.expand(2, -1, -1)
    embedded = torch.cat([class_token, tokens], dim=1) + ours.imgencoder.positions(our_grid)
    assert our_grid == grid_hw
    assert difference(embedded, theirs.backbone.embeddings(image)) <= SAME

    stages = ours.imgencoder(tokens, our_grid)
    their_stages = theirs.backbone(image).feature_maps
    assert_all_same(stages, their_stages)

    maps = ours.reassemble(stages, our_grid)
    their_maps = theirs.neck.reassemble_stage(list(their_stages), *grid_hw)
    assert_all_same(maps, [conv(each) for conv, each in zip(theirs.neck.convs, their_maps, strict=True)])

    fused = ours.fusion(maps)
    their_fused = theirs.neck(list(their_stages), *grid_hw)
    assert difference(fused, their_fused[-1]) <= SAME
    assert difference(ours.head(fused, size), theirs.head(their_fused, *grid_hw)) <= SAME


def assert_all_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs) == 4
    for our_one, their_one in zip(ours, theirs, strict=True):
        assert difference(our_one, their_one) <= SAME


def split_into_shards(folder: Path, target: Path) -> Path:
    reference_model().save_pretrained(target, max_shard_size="1MB")
    assert len(list(target.glob("*.safetensors"))) > 3
    return target


def as_pytorch_bin(folder: Path, target: Path) -> Path:
    (target / "config.json").write_text((folder / "config.json").read_text())
    torch.save(load_file(folder / "model.safetensors"), target / "pytorch_model.bin")
    return target


def as_split_pytorch_bin(folder: Path, target: Path) -> Path:
    tensors = list(load_file(folder / "model.safetensors").items())
    halves = {"one.bin": dict(tensors[::2]), "two.bin": dict(tensors[1::2])}
    for name, half in halves.items():
        torch.save(half, target / name)
    weight_map = {key: name for name, half in halves.items() for key in half}
    (target / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (target / "config.json").write_text((folder / "config.json").read_text())
    return target


def as_a_path_to_the_file(folder: Path, target: Path) -> Path:
    return folder / "model.safetensors"


@pytest.mark.parametrize("form", [split_into_shards, as_pytorch_bin, as_split_pytorch_bin, as_a_path_to_the_file])
def test_every_form_of_a_folder(folder_of, tmp_path, form):
    _, model, _ = make_dpt_from_state_dict(form(folder_of(), tmp_path))
    image = images(70, 126)
    assert difference(model.inference(image), reference_depth(reference_model(), image)) <= SAME


def test_half_precision_folder(tmp_path):
    rounded = DepthAnythingForDepthEstimation(reference_model().config).eval()
    rounded.load_state_dict(reference_model().state_dict())
    rounded.half().save_pretrained(tmp_path)
    _, model, _ = make_dpt_from_state_dict(tmp_path)
    image = images(70, 126)
    assert difference(model.inference(image), reference_depth(rounded.float(), image)) <= SAME


def test_a_config_that_leaves_out_what_is_usual(folder_of, tmp_path):
    """Published folders mention only what differs from transformers' own defaults, among them 12 heads."""
    variant = "16 features per head"
    link_folder(folder_of(variant), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("num_attention_heads", "layer_norm_eps", "apply_layernorm", "out_features"):
        del config["backbone_config"][name]
    del config["reassemble_factors"], config["depth_estimation_type"], config["max_depth"]
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, model, _ = make_dpt_from_state_dict(tmp_path)
    image = images(70, 126)
    assert difference(model.inference(image), reference_depth(reference_model(variant), image)) <= SAME


@pytest.mark.parametrize(
    "variant, model_type, value_range",
    [
        ("relative", "depth-anything-v2", [0.0, None]),
        ("V1", "depth-anything-v1", [0.0, None]),
        ("metric", "depth-anything-v2-metric-hypersim", [0.0, 20.0]),
        ("unpublished range", "depth-anything-v2", [0.0, 7.0]),
    ],
)
def test_config_json_tells_type_and_range(folder_of, capsys, variant, model_type, value_range):
    config, model, _ = make_dpt_from_state_dict(folder_of(variant))
    line = capsys.readouterr().out
    assert config["model_type"] == model_type and config["output"]["value_range"] == value_range
    assert model.output.quantity == ("inverse depth" if value_range[1] is None else "metres")
    assert "config.json says so" in line and "ASSUMED" not in line
    assert ("metres, 0 to" in line) == (value_range[1] is not None) and not ("relative" in line and "metres" in line)


READ_FROM_CONFIG = [
    ("model_type",),
    ("depth_estimation_type",),
    ("max_depth",),
    ("reassemble_factors",),
    ("backbone_config",),
    ("backbone_config", "num_attention_heads"),
    ("backbone_config", "layer_norm_eps"),
    ("backbone_config", "apply_layernorm"),
    ("backbone_config", "out_indices"),
]
READ_FROM_PREPROCESSOR = [
    ("size",),
    ("size", "height"),
    ("keep_aspect_ratio",),
    ("ensure_multiple_of",),
    ("image_mean",),
    ("image_std",),
]


@pytest.mark.parametrize(
    "name, paths", [("config.json", READ_FROM_CONFIG), ("preprocessor_config.json", READ_FROM_PREPROCESSOR)]
)
def test_garbage_in_a_folders_json_leads_to_no_traceback(folder_of, their_processor, tmp_path, name, paths):
    """Refused in one sentence, or a model that runs."""
    link_folder(folder_of("metric"), tmp_path)
    their_processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / name).read_text())
    (tmp_path / name).unlink()
    broken = []
    for path, changed in with_garbage(config, paths):
        (tmp_path / name).write_text(json.dumps(changed))
        try:
            _, model, imgproc = make_dpt_from_state_dict(tmp_path)
            model.inference(images(28, 42))
            imgproc.prepare_image_bgr(make_picture(30, 40))
        except UserError:
            pass
        except Exception as error:
            broken.append((path, changed, repr(error)[:200]))
    assert broken == []


def link_folder(source: Path, target: Path) -> None:
    for file in source.iterdir():
        (target / file.name).symlink_to(file)
    (target / "preprocessor_config.json").unlink(missing_ok=True)


# Pictures: transformers' own image processor, on PIL


@pytest.fixture(scope="module")
def their_processor() -> DPTImageProcessorPil:
    return DPTImageProcessorPil(
        size={"height": 518, "width": 518},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
    )


@pytest.fixture(scope="module")
def our_processor(folder_of, their_processor):
    """Ours, made from the folder with the preprocessor_config.json that theirs writes."""
    folder = folder_of("metric")
    their_processor.save_pretrained(folder)
    return make_dpt_from_state_dict(folder)[2]


PICTURE_SIZES = [(480, 640), (1080, 1920), (200, 300), (375, 1242), (800, 400), (31, 57), (518, 518), (600, 500)]


@pytest.mark.parametrize("size", PICTURE_SIZES, ids=str)
def test_pictures_are_prepared_alike(our_processor, their_processor, size):
    """Both round to 8 bits after each direction; the libraries' fixed-point weights differ in the last place."""
    picture = make_picture(*size)
    ours = our_processor.prepare_image_bgr(picture)
    theirs = their_processor(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), return_tensors="pt")["pixel_values"]
    assert ours.shape == theirs.shape
    steps = (ours - theirs).abs() * torch.tensor(IMAGENET_STD)[:, None, None] * 255
    assert steps.max() < 2.01 and (steps > 0.5).float().mean() < 0.01


@pytest.mark.parametrize("size", [(97, 211), (300, 200), (20, 30)], ids=str)
def test_maps_return_to_the_picture_alike(our_processor, their_processor, size):
    maps = images(70, 126)[:, 0]
    theirs = their_processor.post_process_depth_estimation(DepthEstimatorOutput(predicted_depth=maps), [size] * 2)
    theirs = torch.stack([each["predicted_depth"] for each in theirs])
    assert difference(our_processor.scale_prediction(maps, size), theirs) <= SAME


def test_from_picture_to_metres(folder_of, our_processor, their_processor):
    picture = make_picture(90, 120)
    _, model, _ = make_dpt_from_state_dict(folder_of("metric"))
    ours = predict_depth(model, our_processor, picture).depth
    inputs = their_processor(np.ascontiguousarray(picture[..., ::-1]), return_tensors="pt")
    with torch.no_grad():
        outputs = reference_model("metric")(**inputs)
    theirs = their_processor.post_process_depth_estimation(outputs, [(90, 120)])[0]["predicted_depth"].numpy()
    assert np.abs(ours - theirs).mean() <= 0.01 * theirs.std()  # the pictures differ by rounding, see above


@pytest.mark.parametrize(
    "changes, side, multiple, fit",
    [
        ({}, 518, 14, "minimal"),
        ({"size": {"height": 392, "width": 392}}, 392, 14, "minimal"),
        ({"keep_aspect_ratio": False}, 518, 14, "stretch"),
        ({"ensure_multiple_of": 28}, 518, 28, "minimal"),
    ],
)
def test_preprocessor_config_is_followed(folder_of, their_processor, tmp_path, changes, side, multiple, fit):
    link_folder(folder_of(), tmp_path)
    processor = DPTImageProcessorPil(**(their_processor.to_dict() | changes))
    processor.save_pretrained(tmp_path)
    rule = make_dpt_from_state_dict(tmp_path)[2].rule
    assert (rule.side, rule.multiple, rule.fit) == (side, multiple, fit)
    picture = make_picture(240, 300)
    theirs = processor(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), return_tensors="pt")["pixel_values"]
    assert make_dpt_from_state_dict(tmp_path)[2].prepare_image_bgr(picture).shape == theirs.shape
