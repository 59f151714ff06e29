"""ZoeDepth and the metric models of Depth-Anything V1: the numbers of the originals, loading, routing, range, pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lib.image_processor
from lib.checkpoints.files import Checkpoint
from lib.decoder.metric_head import attract, log_choose
from lib.dpt_model import DPTModel
from lib.errors import CheckpointError, UserError
from lib.image_processor import DPTImageProcessor, reflection_margin
from lib.make_dpt import make_dpt_from_state_dict, save_dpt
from lib.predict import predict_depth, predict_depth_batch
from lib.releases import RELEASES
from lib.zoedepth import ZoeDepth
from tests import midas
from tests.conftest import GOLDENS, SAME, difference, make_picture, paths_in, with_garbage
from tests.reference import synthetic_checkpoint

ALMOST = 5e-3  # the bins amplify rounding: largest difference in standard deviations
N, K, NK, V1 = "tiny_zoedepth_n", "tiny_zoedepth_k", "tiny_zoedepth_nk", "tiny_depth_anything_metric_depth"
NAMES = [N, K, NK, V1]
TYPES = {N: "zoedepth-nyu", K: "zoedepth-kitti", NK: "zoedepth-nyu-kitti", V1: "depth-anything-v1-metric-indoor"}


@pytest.fixture(scope="module")
def loaded(weight_file):
    """loaded(NAME) -> (config, model, image processor for the small pictures of the golden); each is loaded once."""
    built = {}

    def load(name: str) -> tuple[dict, ZoeDepth, DPTImageProcessor]:
        if name not in built:
            config, model, imgproc = make_dpt_from_state_dict(weight_file(name))
            height, width = synthetic_checkpoint.load_manifest(name)["img_size"]
            built[name] = (config, model, DPTImageProcessor(replace(imgproc.rule, side=height, width=width)))
        return built[name]

    return load


def golden_keys(name: str) -> list[str]:
    files = np.load(GOLDENS / f"{name}.npz").files
    return [key for key in files if not key.endswith(("_meta", "/input"))]


def golden_picture(name: str, size: str, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The BGR picture of a golden. A few of its values lie outside 0..1, which a real picture's do not."""
    monkeypatch.setattr(lib.image_processor, "as_rgb", lambda image: np.ascontiguousarray(image[..., ::-1]))
    height, width = map(int, size.split("x"))
    rgb = 0.5 + 0.2 * synthetic_checkpoint.model_input(name, height, width)[0]
    return rgb.permute(1, 2, 0).numpy()[..., ::-1]


def golden_error(name: str, key: str, ours: np.ndarray) -> float:
    arrays = np.load(GOLDENS / f"{name}.npz")
    _, stride, _, std = arrays[f"{key}_meta"]
    ours = ours[:: int(stride), :: int(stride)] if ours.ndim == 2 else ours
    assert ours.shape == arrays[key].shape
    return float(np.abs(ours - arrays[key]).max() / std)


def test_every_golden_is_here():
    assert [len(golden_keys(name)) for name in NAMES] == [7, 9, 13, 6]


@torch.no_grad()
def our_output(model: ZoeDepth, image: torch.Tensor, output: str) -> torch.Tensor:
    """What the golden's output of this name is called here."""
    if output.startswith("rel_depth"):
        return model.relative_depth(image)[0]
    if output == "domain_logits":
        return model.metric_depth(image).domain_logits[0]
    model.set_domain({"depth_nyu": "indoor", "depth_kitti": "outdoor"}.get(output))
    if output == "depth_max80":
        model.set_max_depth(80)
    depth = model.inference(image)[0]
    model.set_domain(None)
    if output == "depth_max80":
        model.set_max_depth(10)
    return depth


@pytest.mark.parametrize("name, key", [(name, key) for name in NAMES for key in golden_keys(name) if "infer" not in key])
def test_same_numbers_as_the_original(loaded, monkeypatch, name, key):
    _, model, imgproc = loaded(name)
    size, output = key.split("/")
    if output.endswith("keep_aspect"):  # the release's other configuration of Depth-Anything V1
        imgproc = DPTImageProcessor(replace(imgproc.rule, fit="minimal"))
    image = imgproc.prepare_image_bgr(golden_picture(name, size, monkeypatch), use_padding=False)
    ours = our_output(model, image, output)
    assert golden_error(name, key, ours.numpy()) <= (ALMOST if output.startswith("depth") else SAME)


@pytest.mark.parametrize("name, key", [(name, key) for name in NAMES for key in golden_keys(name) if "infer" in key])
def test_same_picture_as_the_original(loaded, monkeypatch, name, key):
    """The whole way: a border, the network, the mirrored picture, back to the picture's size. Both is the default."""
    _, model, imgproc = loaded(name)
    options = {
        "infer": {},
        "infer_pad": {"use_flip": False},
        "infer_plain": {"use_flip": False, "use_padding": False},
    }[key.split("/")[1]]
    picture = golden_picture(name, key.split("/")[0].removeprefix("infer"), monkeypatch)
    result = predict_depth(model, imgproc, picture, **options)
    assert golden_error(name, key, result.depth) <= ALMOST


def test_plain_attention_and_no_cache_give_the_same(loaded):
    for name in (NK, V1):
        _, model, _ = loaded(name)
        image = midas.images(112, 224)
        expected = model.inference(image)
        model.set_fused_attention(False)
        model.set_cache(False)
        assert difference(model.inference(image), expected) <= ALMOST
        model.set_fused_attention(True)
        model.set_cache(True)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared(loaded, name):
    config, model, imgproc = loaded(name)
    assert isinstance(model, ZoeDepth) and isinstance(model, DPTModel)
    assert config["model_type"] == TYPES[name] and config["release"] is None
    assert (model.output.quantity, model.output.nearest_is_largest) == ("metres", False)
    assert model.output.value_range == ((0.001, 10) if name == K else (0, float("inf")))
    is_zoedepth = name != V1
    assert imgproc.rule.reflect_padding == imgproc.rule.flip_average == is_zoedepth
    taps = [8, 9, 10, 11] if name == V1 else [2, 5, 8, 11]
    assert config["imgencoder"]["taps"] == taps


def test_the_steps_of_the_core_can_be_called_one_by_one(loaded):
    _, model, _ = loaded(N)
    image = midas.images(96, 128)
    with torch.no_grad():
        tokens, grid_hw = model.patch_embed(image)
        maps = model.reassemble(model.imgencoder(tokens, grid_hw), grid_hw)
        relative = model.head(model.fusion(maps), image.shape[-2:])
        assert torch.equal(relative, model.relative_depth(image)) and relative.shape == (1, 96, 128)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("height, width", [(32, 32), (64, 160), (112, 224)])  # for patches of 14, multiples of them
def test_any_size(loaded, name, height, width):
    if name == V1:
        height, width = (side // 16 * 14 for side in (height, width))
    depth = loaded(name)[1].inference(midas.images(height, width))
    assert depth.shape == (1, height, width) and depth.isfinite().all() and depth.min() > 0


@pytest.mark.parametrize("name, limit", [(N, 0.6), (K, 0.075), (NK, 0.15), (V1, 0.2)])
def test_bfloat16_stays_near_float32(weight_file, name, limit):
    """The synthetic bins are very sharp. With their arithmetic in bfloat16, the difference would be 1.1, 0.09, 0.4 and 1.1."""
    _, model, _ = make_dpt_from_state_dict(weight_file(name))
    image = midas.images(112, 224)
    if name == NK:
        model.set_domain("indoor")
    exact = model.inference(image)
    rounded = model.to(torch.bfloat16).inference(image)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() <= limit * exact.std()


def test_gradients_reach_every_weight(weight_file):
    _, model, _ = make_dpt_from_state_dict(weight_file(NK))
    depth = model(midas.images(64, 96, batch=2))
    model.set_domain("indoor")
    depth = depth.mean() + model(midas.images(64, 96)).mean() + model.metric_depth(midas.images(64, 96)).domain_logits.sum()
    depth.backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == {"head.conv_3.weight", "head.conv_3.bias"}  # this head does not look at the core's depth


# --- routing


def split_model(loaded) -> tuple[ZoeDepth, torch.Tensor]:
    """The two-domain model, and four pictures that it sends outdoors, indoors, outdoors, indoors: the router is adjusted."""
    model, images = loaded(NK)[1], midas.images(64, 96, batch=4)
    bias = model.metric_head.router.contract.bias
    logits = model.inference_with_domains(images).domain_logits
    gap = (logits[:, 1] - logits[:, 0]).sort().values
    with torch.no_grad():
        bias[0] += (gap[1] + gap[2]) / 2
    indoors, outdoors = (
        [number for number, domain in enumerate(model.inference_with_domains(images).domains) if domain == wanted]
        for wanted in ("indoor", "outdoor")
    )
    return model, images[[outdoors[0], indoors[0], outdoors[1], indoors[1]]]


def test_each_picture_of_a_batch_is_routed_and_predicted_as_if_alone(loaded):
    model, images = split_model(loaded)
    result = model.inference_with_domains(images)
    assert result.domains == ("outdoor", "indoor", "outdoor", "indoor")
    for number, image in enumerate(images):
        alone = model.inference_with_domains(image[None])
        assert alone.domains == (result.domains[number],)
        assert difference(result.depth[number], alone.depth[0]) <= ALMOST


def test_one_vote_for_the_whole_batch_is_the_releases_way(loaded):
    model, images = split_model(loaded)
    model.vote_by_batch = True
    result = model.inference_with_domains(images)
    chosen = ("indoor", "outdoor")[int(result.domain_logits.sum(dim=0).argmax())]
    assert result.domains == (chosen,) * 4
    model.vote_by_batch = False
    model.set_domain(chosen)
    assert difference(result.depth, model.inference(images)) <= SAME
    model.set_domain(None)


class HeadAlone(torch.nn.Module):
    """The metric head with nothing but tensors as arguments and result, for `torch.export`."""

    def __init__(self, head: torch.nn.Module):
        super().__init__()
        self.head = head

    def forward(self, coarsest, fused_maps, features, relative):
        return self.head(coarsest, fused_maps, features, relative).depth


@torch.no_grad()
def test_a_graph_makes_the_same_choice(loaded, monkeypatch):
    """In a graph, both domains are computed and one is chosen for each picture, whatever the example's choice was."""
    model, images = split_model(loaded)
    expected = model(images)
    tokens, grid_hw = model.patch_embed(images)
    maps = model.reassemble(model.imgencoder(tokens, grid_hw), grid_hw)
    fused_maps = model.fusion.all_maps(maps)
    features = model.head.features(fused_maps[-1], images.shape[-2:])
    handed_over = (maps[-1], fused_maps, features, model.head.depth(features))
    example = tuple([t.flip(0) for t in item] if isinstance(item, list) else item.flip(0) for item in handed_over)
    graph = torch.export.export(HeadAlone(model.metric_head), example).module()
    assert difference(graph(*handed_over), expected) <= ALMOST
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert difference(model(images), expected) <= ALMOST


def test_the_choice_is_reported_and_can_be_overridden(loaded):
    _, model, imgproc = loaded(NK)
    picture = make_picture(90, 140)
    chosen = predict_depth(model, imgproc, picture)
    assert chosen.domain == model.inference_with_domains(imgproc.prepare_image_bgr(picture)).domains[0]
    depths = {}
    for domain in ("indoor", "outdoor"):
        model.set_domain(domain)
        result = predict_depth(model, imgproc, picture)
        assert result.domain == domain
        depths[domain] = result.depth
    model.set_domain(None)
    assert not np.allclose(depths["indoor"], depths["outdoor"])
    assert predict_depth(*loaded(N)[1:], picture).domain is None
    with pytest.raises(UserError, match="no bins for the domain 'mars'; it has indoor and outdoor"):
        model.set_domain("mars")
    with pytest.raises(UserError, match="the same bins for all pictures"):
        loaded(N)[1].set_domain("indoor")


# --- the range of bounded bins


def test_the_range_is_a_setting(loaded):
    model = loaded(K)[1]
    image = midas.images(64, 96)
    shares = (model.inference(image) - 0.001) / (10 - 0.001)
    model.set_max_depth(80)
    assert model.output.value_range == (0.001, 80)
    assert difference((model.inference(image) - 0.001) / (80 - 0.001), shares) <= SAME
    for wrong in (0, -1, 0.001, float("inf"), float("nan")):
        with pytest.raises(UserError, match="expected 0 < nearest < farthest"):
            model.set_max_depth(wrong)
    model.set_max_depth(10)
    with pytest.raises(UserError, match="have no bounds"):
        loaded(N)[1].set_max_depth(80)


def test_a_config_beside_the_weights_sets_the_range(weight_file, tmp_path, capsys):
    for name in (N, K):
        (tmp_path / f"{name}.pt").symlink_to(weight_file(name))
        (tmp_path / f"{name}.json").write_text(f'{{"model_type": "{TYPES[name]}", "max_depth": 80}}')
    config, model, _ = make_dpt_from_state_dict(tmp_path / f"{K}.pt")
    assert config["output"]["value_range"] == [0.001, 80.0] and model.output.value_range == (0.001, 80.0)
    assert "trained and evaluated" not in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="has a max_depth, but the bins of this model have no bounds"):
        make_dpt_from_state_dict(tmp_path / f"{N}.pt")


def test_the_loader_says_that_ten_metres_are_not_what_was_trained(weight_file, capsys):
    make_dpt_from_state_dict(weight_file(K))
    assert "trained and evaluated with 80 m" in capsys.readouterr().out


# --- files


@pytest.mark.parametrize("name", NAMES)
def test_as_the_releases_wrap_their_weights(weight_file, tmp_path, name):
    tensors = synthetic_checkpoint.build(name)
    torch.save({"model": {f"module.{key}": tensor for key, tensor in tensors.items()}, "epoch": 5}, tmp_path / "a.pt")
    config, model, _ = make_dpt_from_state_dict(tmp_path / "a.pt")
    assert config["model_type"] == TYPES[name]
    expected = make_dpt_from_state_dict(weight_file(name))[1]
    assert all(torch.equal(weight, expected.state_dict()[key]) for key, weight in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_our_own_format_carries_such_a_model(loaded, tmp_path, name):
    config, model, _ = loaded(name)
    save_dpt(tmp_path / "own.safetensors", config, model)
    again_config, again, imgproc = make_dpt_from_state_dict(tmp_path / "own.safetensors")
    assert again_config == config and isinstance(again, ZoeDepth) and again.output == model.output
    image = midas.images(112, 224)
    assert torch.equal(again.inference(image), model.inference(image))
    assert imgproc.rule.flip_average == (name != V1)


FULL_SIZE = {
    "zoedepth_n": "ZoeD_M12_N.pt",
    "zoedepth_k": "ZoeD_M12_K.pt",
    "zoedepth_nk": "ZoeD_M12_NK.pt",
    "depth_anything_metric_depth_indoor": "depth_anything_metric_depth_indoor.pt",
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_key_of_a_release_is_used_or_listed(name):
    config, model = midas_load_empty(name, FULL_SIZE[name])
    release = RELEASES[config["release"]]
    assert release.file_name == FULL_SIZE[name]
    keys = synthetic_checkpoint.load_manifest(name)["keys"]
    unused = ("relative_position_index", "k_idx", "K_minus_1", "mask_token")
    unused_parts = ("resConfUnit1", "pretrained.model.fc_norm", "pretrained.model.head")
    used = [
        shape
        for key, (*shape, _) in keys.items()
        if not key.endswith(unused) and not (unused_parts[0] in key and "refinenet4" in key)
        and not any(part in key for part in unused_parts[1:])
    ]  # fmt: skip
    blocks = config["imgencoder"]["num_blocks"]
    zero_key_biases = 0 if "anything" in name else blocks * 1024  # biases on keys: of zeros, made while loading
    expected = sum(int(np.prod(shape)) for shape in used) + zero_key_biases
    assert sum(weight.numel() for weight in model.parameters()) == expected
    size = {"zoedepth_k": (384, 768), "depth_anything_metric_depth_indoor": (392, 518)}.get(name, (384, 512))
    assert (config["picture"]["side"], config["picture"]["width"]) == size


def midas_load_empty(name: str, file_name: str) -> tuple[dict, torch.nn.Module]:
    """The release's config and network, without memory."""
    return midas.load(midas.shapes_of(name), file_name)


def test_indoors_and_outdoors_of_depth_anything_differ_by_name_alone():
    for place in ("indoor", "outdoor"):
        config, _ = midas_load_empty("depth_anything_metric_depth_indoor", f"depth_anything_metric_depth_{place}.pt")
        assert config["release"] == config["model_type"] == f"depth-anything-v1-metric-{place}"
    for named in ("weights.pt", "my_metric_model.pt"):
        assert midas_load_empty("depth_anything_metric_depth_indoor", named)[0]["picture"]["fit"] == "stretch"


@pytest.mark.parametrize("key, told", [
    ("core.core.pretrained.model.layers.0.blocks.0.attn.logit_scale", "a ZoeDepth whose core is a DPT with a SwinV2"),
    ("core.core.pretrained.model.layers.0.blocks.0.attn.relative_position_bias_table", "a DPT with a Swin "),
    ("core.core.pretrained.model.pos_embed", "DPT-Large"),
    ("core.core.pretrained.model.patch_embed.backbone.stem.conv.weight", "DPT-Hybrid"),
    ("core.core.pretrained.layer1.0.weight", "MiDaS 2.1"),
])  # fmt: skip
def test_another_core_is_refused_with_its_name(tmp_path, key, told):
    head = {key: tensor for key, tensor in synthetic_checkpoint.build(N).items() if not key.startswith("core.")}
    core = {key: torch.zeros(2), "core.core.pretrained.model.blocks.0.norm1.weight": torch.zeros(2)}
    torch.save(core | head, tmp_path / "zoe.pt")
    with pytest.raises(CheckpointError, match=told) as caught:
        make_dpt_from_state_dict(tmp_path / "zoe.pt")
    assert "only a BEiT core is built here" in str(caught.value)


@pytest.mark.parametrize("name, key", [
    (N, "conv2.bias"),
    (N, "seed_bin_regressor._net.0.weight"),
    (N, "core.core.pretrained.model.blocks.3.attn.qkv.weight"),
    (K, "attractors.3._net.2.weight"),
    (NK, "mlp_classifier.2.bias"),
    (NK, "conditional_log_binomial.kitti.mlp.0.weight"),
    (NK, "patch_transformer.transformer_encoder.layers.2.self_attn.in_proj_bias"),
    (V1, "projectors.2._net.0.bias"),
])  # fmt: skip
def test_a_missing_key_is_named_as_the_release_calls_it(name, key):
    tensors = synthetic_checkpoint.build(name)
    del tensors[key]
    with pytest.raises(
        CheckpointError, match="missing key.*" + key.replace(".", r"\.") + "|missing " + key.replace(".", r"\.")
    ):
        midas.load(tensors, f"{name}.pt")


def test_an_unknown_key_and_a_wrong_type_are_refused():
    tensors = synthetic_checkpoint.build(N)
    with pytest.raises(CheckpointError, match="unexpected key seed_bin_regressor.extra"):
        midas.load(tensors | {"seed_bin_regressor.extra": torch.zeros(2)}, f"{N}.pt")
    for wrong in ("zoedepth-kitti", "midas-beit", "depth-anything-v1-metric-indoor"):
        with pytest.raises(CheckpointError, match="expected zoedepth-nyu"):
            midas.load(dict(tensors), f"{N}.pt", model_type=wrong)
    tensors["attractors.3._net.2.weight"] = torch.zeros(5, 128, 1, 1)
    with pytest.raises(CheckpointError, match="has 5 outputs; expected 1 or 2"):
        midas.load(tensors, f"{N}.pt")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_own_config_leads_to_a_traceback(loaded, monkeypatch):
    """Each value of the head's section, replaced by each kind of garbage: refused in one sentence, or a model that runs."""
    config, model, _ = loaded(NK)
    weights = model.state_dict()
    names = ("attractors", "bins", "depth_range", "domains", "router", "temperatures", "width")  # those that can go wrong most
    paths = [path for path in paths_in(config) if path[-1] in names]
    checkpoints = (
        (path, Checkpoint(path=Path("mine.safetensors"), tensors=dict(weights), own_config=garbage))
        for path, garbage in with_garbage(config, paths)
    )
    assert midas.assert_no_traceback(monkeypatch, checkpoints, midas.images(32, 64)) > 5 * len(paths)


# --- pictures


def test_a_border_that_no_picture_is_too_small_for(loaded):
    _, model, imgproc = loaded(N)
    for height, width in ((1, 1), (3, 200), (4, 5)):
        result = predict_depth(model, imgproc, make_picture(height, width))
        assert result.depth.shape == (height, width) and np.isfinite(result.depth).all()


def test_the_border_is_mirrored_and_cut_off_again(loaded):
    imgproc = loaded(N)[2]
    picture = make_picture(100, 150)
    rows, columns = reflection_margin(100), reflection_margin(150)
    bordered = np.pad(picture, ((rows, rows), (columns, columns), (0, 0)), mode="reflect")
    assert torch.equal(imgproc.prepare_image_bgr(picture), imgproc.prepare_image_bgr(bordered, use_padding=False))
    assert imgproc.network_size(100, 150) == tuple(imgproc.prepare_image_bgr(picture).shape[-2:])
    prediction = torch.arange(128 * 160).reshape(1, 128, 160).float()
    whole = imgproc.scale_prediction(prediction, bordered.shape[:2], use_padding=False)
    assert torch.equal(imgproc.scale_prediction(prediction, (100, 150)), whole[:, rows:-rows, columns:-columns])


def test_the_mirrored_picture_is_averaged(loaded):
    _, model, imgproc = loaded(N)
    picture = make_picture(90, 140)
    one, other = (predict_depth(model, imgproc, image, use_flip=False).depth for image in (picture, picture[:, ::-1].copy()))
    both = predict_depth(model, imgproc, picture).depth
    assert np.abs(both - (one + other[:, ::-1]) / 2).max() <= ALMOST * both.std()
    assert np.abs(both - one).max() > 0.01 * both.std()


def test_a_batch_is_each_picture_alone(loaded):
    _, model, imgproc = loaded(NK)
    pictures = [make_picture(90, 140, seed=seed) for seed in range(3)]
    for picture, together in zip(pictures, predict_depth_batch(model, imgproc, pictures), strict=True):
        alone = predict_depth(model, imgproc, picture)
        assert together.domain == alone.domain
        assert np.abs(together.depth - alone.depth).max() <= ALMOST * alone.depth.std()


@pytest.mark.parametrize("shape, expected", [
    ((480, 640), (384, 512)), ((1080, 1920), (384, 672)), ((1920, 1080), (896, 512)), ((3024, 4032), (384, 512)),
    ((375, 1242), (384, 1152)), ((200, 300), (352, 512)), ((800, 400), (960, 512)), ((1080, 2560), (384, 864)),
])  # fmt: skip
def test_network_sizes(shape, expected):
    """Worked out from the release's rule, for pictures with their border."""
    rule = make_rule("zoedepth-nyu")
    assert DPTImageProcessor(rule).network_size(*shape) == expected


def make_rule(model_type: str) -> lib.image_processor.PictureRule:
    from lib.model_types import MODEL_TYPES

    return MODEL_TYPES[model_type].picture


# --- the formulas


def test_attraction_by_hand():
    centres, points = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1), torch.tensor([1.1, 3.0]).reshape(1, 2, 1, 1)

    def pull(distance: float) -> float:
        return distance / (1 + 300 * distance**2)

    expected = [1 + (pull(0.1) + pull(2.0)) / 2, 2 + (pull(-0.9) + pull(1.0)) / 2]
    assert attract(centres, points).flatten().tolist() == pytest.approx(expected)


def test_stirlings_formula():
    """Near log C(n, k) where neither k nor n - k is small; off by the square root that it leaves out."""
    from math import comb, log, pi

    values = log_choose(63, torch.arange(64.0))
    assert values.isfinite().all() and values[0].abs() < 1e-4 and values[63].abs() < 1e-4
    for k in (10, 31, 50):
        correction = 0.5 * log(2 * pi * k * (63 - k) / 63)
        assert values[k].item() - correction == pytest.approx(log(comb(63, k)), abs=0.05)
