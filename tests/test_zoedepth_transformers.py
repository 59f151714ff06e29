"""ZoeDepth against the `transformers` package: the same random weights in both, one domain and two."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation
from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

from lib.errors import CheckpointError
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth
from tests import midas
from tests.conftest import difference, make_picture, with_garbage

ALMOST = 5e-3  # the bins amplify rounding: largest difference in standard deviations
DOMAINS = [
    {"name": "nyu", "n_bins": 64, "min_depth": 0.001, "max_depth": 10.0},
    {"name": "kitti", "n_bins": 64, "min_depth": 0.001, "max_depth": 80.0},
]
ROUTER = {
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 256,
    "patch_transformer_num_attention_heads": 4,
}
KINDS = {
    "unbounded": {},
    "bounded": {"bin_centers_type": "normed", "bin_configurations": [DOMAINS[1]]},
    "two domains": {"bin_configurations": DOMAINS, **ROUTER},
    "other numbers": {"num_attractors": [4, 3, 3, 2], "bin_embedding_dim": 32, "min_temp": 0.1, "max_temp": 7.0},
    "bounded, other bins": {
        "bin_centers_type": "normed",
        "num_attractors": [2, 2, 3, 1],
        "bin_configurations": [{"n_bins": 24, "min_depth": 0.5, "max_depth": 20.0}],
    },
    "two domains, heads": {"bin_configurations": DOMAINS, **ROUTER, "patch_transformer_num_attention_heads": 8},
}


def config_of(**changes) -> ZoeDepthConfig:
    backbone = BeitConfig(
        hidden_size=64,
        num_hidden_layers=4,
        intermediate_size=128,
        num_attention_heads=2,
        image_size=128,
        use_relative_position_bias=True,
        use_absolute_position_embeddings=False,
        use_mask_token=False,
        layer_scale_init_value=0.1,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    sizes = {"neck_hidden_sizes": [16, 32, 64, 64], "fusion_hidden_size": 32, "bottleneck_features": 32}
    return ZoeDepthConfig(backbone_config=backbone, **(sizes | changes))


def reference_of(config: ZoeDepthConfig) -> ZoeDepthForDepthEstimation:
    """Seeded weights; low temperatures and bins that differ, without which errors in them would hardly show."""
    model = midas.seed_weights(ZoeDepthForDepthEstimation(config)).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "log_binomial" in name and name.endswith("mlp.2.bias"):
                tensor.copy_(torch.tensor([0.0, 0.0, -3.0, 3.0]))
            if "log_binomial" in name and name.endswith("mlp.2.weight"):
                tensor *= 3
            if "seed_bin_regressor" in name and name.endswith("conv2.weight"):
                tensor *= 4
    return model


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """pair(KIND) -> (transformers' model, ours, our image processor, the folder); each is built once."""
    built = {}

    def build(kind: str):
        if kind not in built:
            reference = reference_of(config_of(**KINDS[kind]))
            folder = tmp_path_factory.mktemp("zoedepth")
            reference.save_pretrained(folder)
            built[kind] = (reference, *make_dpt_from_state_dict(folder), folder)
        return built[kind]

    return build


@torch.no_grad()
def expected_of(reference: ZoeDepthForDepthEstimation, images: torch.Tensor) -> torch.Tensor:
    return reference(images).predicted_depth


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (112, 144)], ids=str)  # the last has an odd grid
def test_same_depth(pair, kind, size):
    reference, _, model, _, _ = pair(kind)
    images = midas.images(*size)
    expected = expected_of(reference, images)
    assert expected.std() > 0.05
    assert difference(model.inference(images), expected) <= ALMOST


@pytest.mark.parametrize("kind", KINDS)
def test_same_relative_depth_and_logits(pair, kind):
    reference, _, model, _, _ = pair(kind)
    images, kept = midas.images(96, 160), []
    hook = reference.relative_head.register_forward_hook(lambda _, inputs, output: kept.append(output[0]))
    with torch.no_grad():
        output = reference(images)
        assert difference(model.relative_depth(images), kept[0]) <= 1e-4
    hook.remove()
    logits = model.inference_with_domains(images).domain_logits
    assert (logits is None) == (output.domain_logits is None)
    if logits is not None:
        assert (logits - output.domain_logits).abs().max() <= 1e-4 * output.domain_logits.abs().max()


@pytest.mark.parametrize("kind", ["unbounded", "bounded", "two domains"])
def test_same_batch(pair, kind):
    """Where there are two domains, transformers takes one for the whole batch, and ours does so when told to."""
    reference, _, model, _, _ = pair(kind)
    images = midas.images(96, 128, batch=3)
    model.vote_by_batch = True
    assert difference(model.inference(images), expected_of(reference, images)) <= ALMOST
    model.vote_by_batch = False
    one_by_one = torch.cat([expected_of(reference, image[None]) for image in images])
    assert difference(model.inference(images), one_by_one) <= ALMOST


@pytest.mark.parametrize("kind, model_type, values", [
    ("unbounded", "zoedepth-nyu", [0.0, None]),
    ("bounded", "zoedepth-kitti", [0.001, 80.0]),
    ("two domains", "zoedepth-nyu-kitti", [0.0, None]),
])  # fmt: skip
def test_a_folder_is_recognised_whatever_its_name(pair, kind, model_type, values):
    _, config, model, imgproc, _ = pair(kind)
    assert (config["model_type"], config["output"]["quantity"]) == (model_type, "metres")
    assert config["output"]["value_range"] == values and not model.output.nearest_is_largest
    assert imgproc.rule.target_hw == (384, 512) and imgproc.rule.reflect_padding and not imgproc.rule.flip_average


@pytest.mark.parametrize("size", [(384, 768), (384, 512)])
@pytest.mark.parametrize("shape", [(60, 90), (213, 120), (500, 640)])
def test_pictures_are_prepared_as_by_transformers(pair, tmp_path, size, shape):
    _, _, _, _, folder = pair("unbounded")
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    theirs = ZoeDepthImageProcessorPil(size={"height": size[0], "width": size[1]}, ensure_multiple_of=32)
    theirs.save_pretrained(tmp_path)
    _, _, imgproc = make_dpt_from_state_dict(tmp_path)
    picture = make_picture(*shape)
    expected = theirs(picture[..., ::-1].copy(), return_tensors="pt")["pixel_values"]
    prepared = imgproc.prepare_image_bgr(picture)
    assert prepared.shape == expected.shape and (prepared - expected).abs().max() <= 1e-5
    for unpadded in (theirs(picture[..., ::-1].copy(), do_pad=False, return_tensors="pt")["pixel_values"],):
        assert (imgproc.prepare_image_bgr(picture, use_padding=False) - unpadded).abs().max() <= 1e-5


def test_the_whole_way_is_that_of_transformers(pair):
    reference, _, model, imgproc, _ = pair("two domains")
    theirs = ZoeDepthImageProcessorPil(size={"height": 96, "width": 128}, ensure_multiple_of=32)
    imgproc = type(imgproc)(replace(imgproc.rule, side=96, width=128))
    picture = make_picture(100, 150)
    with torch.no_grad():
        inputs = theirs(picture[..., ::-1].copy(), return_tensors="pt")["pixel_values"]
        plain, mirrored = reference(inputs), reference(inputs.flip(-1))
    average = (plain.predicted_depth + mirrored.predicted_depth.flip(-1)) / 2
    for use_flip, depth in ((None, plain.predicted_depth), (True, average)):
        # what post_process_depth_estimation does, for which torchvision would be needed
        rows, columns = (int(np.sqrt(side / 2) * 3) for side in (100, 150))
        padded = F.interpolate(depth[None], size=(100 + 2 * rows, 150 + 2 * columns), mode="bicubic")[0, 0]
        expected = padded[rows:-rows, columns:-columns].numpy()
        result = predict_depth(model, imgproc, picture, use_flip=use_flip)
        assert np.abs(result.depth - expected).max() <= ALMOST * expected.std()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_config_json_leads_to_a_traceback(pair, monkeypatch):
    folder = pair("two domains")[-1]
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    names = ("bin_centers_type", "bin_configurations", "max_temp", "patch_transformer_num_attention_heads")
    paths = [(name,) for name in names]
    checkpoints = ((path, midas.as_checkpoint(weights, "zoe", garbage)) for path, garbage in with_garbage(config, paths))
    assert midas.assert_no_traceback(monkeypatch, checkpoints, midas.images(32, 64)) > 3 * len(paths)


@pytest.mark.parametrize("changes, told", [
    ({"attractor_kind": "sum"}, "attractor_kind = 'sum'"),
    ({"bin_centers_type": "hybrid1"}, "bin_centers_type = 'hybrid1'; expected normed or softplus"),
    ({"bin_configurations": [DOMAINS[0] | {"name": "mars"}, DOMAINS[1]]}, "its domains are mars, kitti; expected nyu and kit"),
    ({"bin_configurations": "many"}, "describes no model"),
    ({"backbone_config": {"model_type": "dinov2"}}, "has the backbone 'dinov2'; only 'beit' is supported"),
])  # fmt: skip
def test_another_network_is_refused(pair, tmp_path, changes, told):
    _, _, _, _, folder = pair("two domains")
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as caught:
        make_dpt_from_state_dict(tmp_path)
    assert told in str(caught.value) and str(Path(tmp_path)) in str(caught.value)
