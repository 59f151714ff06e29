"""MiDaS encoders against the `transformers` package, stage by stage and end to end: the same weights in both.

ViT, hybrid, BEiT, SwinV2 and DINOv2 as folders that `save_pretrained` writes. Swin and LeViT are in no DPT model of
`transformers`: their weights are renamed to the releases' layout here, and the encoders' stages are compared.
"""

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BeitConfig,
    BitConfig,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    LevitConfig,
    LevitModel,
    PreTrainedModel,
    SwinConfig,
    SwinModel,
    Swinv2Config,
)
from transformers.modeling_outputs import DepthEstimatorOutput
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

from lib.dpt_model import DPTModel
from lib.errors import CheckpointError
from lib.make_dpt import make_dpt_from_state_dict
from tests import midas
from tests.conftest import SAME, difference, make_picture, paths_in, with_garbage
from tests.reference import synthetic_checkpoint

FOUR_BLOCKS = {"hidden_size": 64, "num_hidden_layers": 4, "intermediate_size": 128}
NECK = {"neck_hidden_sizes": [16, 32, 64, 64], "fusion_hidden_size": 32}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def vit(**changes) -> DPTConfig:
    settings = {"num_attention_heads": 2, "image_size": 128, "patch_size": 16, "backbone_out_indices": [0, 1, 2, 3]}
    return DPTConfig(**(FOUR_BLOCKS | NECK | settings | changes))


def bit_config(depths: list[int]) -> BitConfig:
    return BitConfig(
        global_padding="same",
        layer_type="bottleneck",
        depths=depths,
        out_features=STAGES[:3],
        embedding_dynamic_padding=True,
    )


def hybrid(**changes) -> DPTConfig:
    """Its first two taps are stages of the convolutions, and the neck takes them as they are."""
    settings = {
        "is_hybrid": True,
        "backbone_config": bit_config([2, 1, 2]),
        "backbone_featmap_shape": [1, 1024, 8, 8],
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_ignore_stages": [0, 1],
        "neck_hidden_sizes": [256, 512, 64, 64],
        "reassemble_factors": [1, 1, 1, 0.5],
    }
    return vit(**(settings | changes))


def beit(backbone: dict | None = None, **changes) -> DPTConfig:
    settings = {
        "num_attention_heads": 2,
        "image_size": 128,
        "use_relative_position_bias": True,
        "use_absolute_position_embeddings": False,
        "use_mask_token": False,
        "layer_scale_init_value": 0.1,
        "reshape_hidden_states": False,
        "out_features": STAGES,
    }
    return DPTConfig(backbone_config=BeitConfig(**(FOUR_BLOCKS | settings | (backbone or {}))), **(NECK | changes))


def swin2(**changes) -> DPTConfig:
    settings = {
        "embed_dim": 32,
        "depths": [2, 2, 4, 2],
        "num_heads": [1, 2, 4, 8],
        "window_size": 8,
        "image_size": 128,
        "out_features": STAGES,
    }
    backbone = Swinv2Config(**(settings | changes))
    return DPTConfig(backbone_config=backbone, readout_type="ignore", **(NECK | {"neck_hidden_sizes": [32, 64, 128, 256]}))


def dinov2(backbone: dict | None = None, **changes) -> DPTConfig:
    """As the folders facebook/dpt-dinov2-*."""
    settings = {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 112,
        "patch_size": 14,
        "reshape_hidden_states": False,
        "out_indices": [1, 2, 3, 4],
        "apply_layernorm": False,
    }
    switches = {"add_projection": True, "use_bias_in_fusion_residual": False, "fusion_hidden_size": 256}
    return DPTConfig(backbone_config=Dinov2Config(**(settings | (backbone or {}))), **(NECK | switches | changes))


SQUARE = [(128, 128), (96, 96), (112, 112)]  # of a ViT, transformers takes square pictures only; the last has 7 x 7 patches
ANY_SHAPE = [(128, 128), (96, 160), (112, 144)]
CASES: dict[str, tuple[Callable[[], DPTConfig], list[tuple[int, int]]]] = {
    "vit": (vit, SQUARE),
    "vit, readout ignore": (lambda: vit(readout_type="ignore"), SQUARE[:1]),
    "vit, readout add": (lambda: vit(readout_type="add"), SQUARE[:1]),
    "vit, norm": (lambda: vit(layer_norm_eps=0.1), SQUARE[:1]),
    "vit, heads by default": (lambda: vit(hidden_size=96, num_attention_heads=12), SQUARE[:1]),
    "vit, taps by default": (lambda: vit(num_hidden_layers=16, backbone_out_indices=[2, 5, 8, 11]), SQUARE[:1]),
    "vit, other taps": (lambda: vit(num_hidden_layers=6, backbone_out_indices=[0, 2, 3, 5]), SQUARE[:1]),
    "vit, factors": (lambda: vit(reassemble_factors=[8, 4, 2, 1]), SQUARE[:1]),
    "vit, no fusion bias": (lambda: vit(use_bias_in_fusion_residual=False), SQUARE[:1]),
    "hybrid": (hybrid, SQUARE[:1]),  # transformers takes pictures of the native size only
    "hybrid, odd grid": (lambda: hybrid(image_size=112), SQUARE[2:]),
    "hybrid, as deep as the release": (
        lambda: hybrid(backbone_config=bit_config([3, 4, 9]), num_hidden_layers=12, backbone_out_indices=[0, 1, 8, 11]),
        SQUARE[:1],
    ),
    "hybrid, other taps": (lambda: hybrid(num_hidden_layers=5, backbone_out_indices=[0, 1, 1, 4]), SQUARE[:1]),
    "beit": (beit, ANY_SHAPE),
    "beit, readout ignore": (lambda: beit(readout_type="ignore"), ANY_SHAPE[1:2]),
    "beit, readout add": (lambda: beit(readout_type="add"), ANY_SHAPE[1:2]),
    "beit, norm": (lambda: beit({"layer_norm_eps": 0.1}), ANY_SHAPE[1:2]),
    "beit, taps by number": (
        lambda: beit({"num_hidden_layers": 5, "out_features": None, "out_indices": [1, 2, 4, 5]}),
        ANY_SHAPE[1:2],
    ),
    "swin2": (swin2, SQUARE[:1]),
    "swin2, first trained with smaller windows": (lambda: swin2(pretrained_window_sizes=[4, 4, 4, 2]), SQUARE[:1]),
    "swin2, window 24, never trained with another": (lambda: swin2(window_size=24, image_size=384), [(384, 384)]),
    "swin2, sizes by default": (lambda: swin2(window_size=7, image_size=224), [(224, 224)]),
    "swin2, norm": (lambda: swin2(layer_norm_eps=0.1), SQUARE[:1]),
    "dinov2": (dinov2, [(112, 112), (70, 126), (98, 84)]),  # 8 x 8, 5 x 9 and 7 x 6 patches
    "dinov2, batch norm": (lambda: dinov2(use_batch_norm_in_fusion_residual=True), [(70, 98)]),
    "dinov2, giant": (lambda: dinov2({"use_swiglu_ffn": True}), [(70, 98)]),
    "dinov2, last norm": (lambda: dinov2({"apply_layernorm": True}), [(70, 98)]),
    "dinov2, taps by name": (
        lambda: dinov2({"num_hidden_layers": 6, "out_indices": None, "out_features": ["stage1", "stage3", "stage4", "stage6"]}),
        [(70, 98)],
    ),
    "dinov2, no projection": (lambda: dinov2(add_projection=False), [(70, 98)]),
}
RUNS = [(case, size) for case, (_, sizes) in CASES.items() for size in sizes]


@cache
def reference_model(case: str) -> DPTForDepthEstimation:
    make_config, sizes = CASES[case]
    return seeded(DPTForDepthEstimation(make_config()), sizes[0])


def seeded(model: DPTForDepthEstimation, size: tuple[int, int]) -> DPTForDepthEstimation:
    midas.seed_weights(model).eval()
    midas.calibrate(model.head.head[4], lambda: model(midas.images(*size)).predicted_depth)
    return model


@pytest.fixture(scope="module")
def models_of(tmp_path_factory) -> Callable[[str], tuple[DPTModel, DPTForDepthEstimation]]:
    """models_of(CASE) -> ours from the folder that theirs saves, and theirs."""
    root = tmp_path_factory.mktemp("folders")
    made = {}

    def make(case: str) -> tuple[DPTModel, DPTForDepthEstimation]:
        if case not in made:
            theirs = reference_model(case)
            theirs.save_pretrained(root / case)
            made[case] = make_dpt_from_state_dict(root / case)[1], theirs
        return made[case]

    return make


@pytest.mark.parametrize("case, size", RUNS, ids=str)
@torch.no_grad()
def test_same_depth(models_of, case, size):
    ours, theirs = models_of(case)
    image = midas.images(*size, batch=2)
    depth = theirs(image).predicted_depth
    assert depth.std() > 0.5 and (depth > 0).float().mean() > 0.95  # a reference that could hide errors shows nothing
    assert difference(ours(image), depth) <= SAME


@torch.no_grad()
def test_swin_v2_bounds_its_temperature(models_of):
    """In double precision, because attention a hundred times as sharp enlarges what rounding does."""
    ours, theirs = (copy.deepcopy(model).double() for model in models_of("swin2"))
    for model in (ours, theirs):
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale"):
                parameter[0] = 6.0  # the bound is the logarithm of 100, 4.6
    image = midas.images(128, 128).double()
    reference = theirs(image).predicted_depth
    assert (ours(image) - reference).abs().max() <= 1e-9 * reference.std()


@pytest.mark.parametrize("options", ["uncached", "plain"])
@pytest.mark.parametrize("case", ["vit", "hybrid", "beit", "swin2", "dinov2"])
@torch.no_grad()
def test_same_depth_uncached_and_with_plain_attention(models_of, case, options):
    ours, theirs = models_of(case)
    image = midas.images(*CASES[case][1][-1], batch=2)
    ours.set_cache(options != "uncached")
    ours.set_fused_attention(options != "plain")
    try:
        assert difference(ours(image), theirs(image).predicted_depth) <= SAME
    finally:
        ours.set_cache(True)
        ours.set_fused_attention(True)


@torch.no_grad()
def their_stages(model: DPTForDepthEstimation, image: torch.Tensor) -> list[torch.Tensor]:
    """What the neck is given."""
    if model.backbone is not None:
        return list(model.backbone(image).feature_maps)
    outputs = model.dpt(image, output_hidden_states=True)
    taps = model.config.backbone_out_indices
    maps = list(outputs.intermediate_activations or []) if model.config.is_hybrid else []
    return maps + [outputs.hidden_states[1 + tap] for tap in taps[len(maps) :]]


@pytest.mark.parametrize(
    "case, size", [(case, size) for case, size in RUNS if case in ("vit", "hybrid", "beit", "swin2", "dinov2")]
)
@torch.no_grad()
def test_every_step_gives_what_its_counterpart_gives(models_of, case, size):
    ours, theirs = models_of(case)
    image = midas.images(*size, batch=2)
    grid_hw = (size[0] // ours.patch_embed.patch_size, size[1] // ours.patch_embed.patch_size)

    tokens, our_grid = ours.patch_embed(image)
    stages = ours.imgencoder(tokens, our_grid)
    expected_stages = their_stages(theirs, image)
    assert our_grid == grid_hw
    assert_all_same(stages, expected_stages)

    maps = ours.reassemble(stages, our_grid)
    neck = theirs.neck
    resampled = expected_stages if neck.reassemble_stage is None else neck.reassemble_stage(expected_stages, *grid_hw)
    assert_all_same(maps, [conv(each) for conv, each in zip(neck.convs, resampled, strict=True)])

    fused = neck(expected_stages, *grid_hw)
    assert difference(ours.fusion(maps), fused[-1]) <= SAME
    assert difference(ours.head(ours.fusion(maps), size), theirs.head(fused)) <= SAME


def assert_all_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for our_one, their_one in zip(ours, theirs, strict=True):
        assert difference(our_one, their_one) <= SAME


@pytest.mark.parametrize(
    "config, told",
    [
        (lambda: vit(hidden_act="relu"), "hidden_act = 'relu'"),
        (lambda: vit(head_in_index=2), "head_in_index = 2"),
        (lambda: swin2(hidden_act="relu"), "hidden_act = 'relu'"),
        (lambda: beit({"hidden_act": "gelu_new"}), "hidden_act = 'gelu_new'"),
        (lambda: dinov2({"hidden_act": "silu"}), "hidden_act = 'silu'"),
        (lambda: beit({"use_shared_relative_position_bias": True, "use_relative_position_bias": False}), "backbone."),
        (lambda: beit({"use_absolute_position_embeddings": True}), "backbone.embeddings.position_embeddings"),
        (lambda: vit(qkv_bias=False), "query.bias"),
        (lambda: swin2(window_size=10), "windows of 10"),
        (lambda: swin2(use_absolute_embeddings=True), "position_embeddings"),
    ],
)
def test_a_network_that_is_not_built_here_is_refused(tmp_path, config, told):
    """Each of these would load, and give other numbers, or fail at the first picture."""
    DPTForDepthEstimation(config()).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=re.escape(told)):
        make_dpt_from_state_dict(tmp_path)


DECODER_SETTINGS = ["hidden_act", "head_in_index", "reassemble_factors"]  # what is read of a config.json
VIT_SETTINGS = ["layer_norm_eps", "num_attention_heads", "backbone_out_indices", "global_padding"]
BACKBONE_SETTINGS = [
    "hidden_act",
    "layer_norm_eps",
    "image_size",
    "window_size",
    "pretrained_window_sizes",
    "out_indices",
    "out_features",
    "apply_layernorm",
]


def is_read(path: tuple[str, ...], case: str) -> bool:
    if case in ("vit", "hybrid"):
        return path[-1] in DECODER_SETTINGS + VIT_SETTINGS
    return path == ("backbone_config",) or path[-1] in (BACKBONE_SETTINGS if len(path) > 1 else DECODER_SETTINGS)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("case", ["vit", "hybrid", "beit", "swin2", "dinov2"])
def test_no_config_json_leads_to_a_traceback(tmp_path, monkeypatch, case):
    """Each setting that is read, replaced by each kind of garbage: refused in one sentence, or a model that runs."""
    reference_model(case).save_pretrained(tmp_path)
    weights, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    paths = [path for path in paths_in(config) if is_read(path, case)]
    checkpoints = ((path, midas.as_checkpoint(weights, "folder", garbage)) for path, garbage in with_garbage(config, paths))
    image = torch.zeros(1, 3, *((28, 28) if case == "dinov2" else (32, 32)))
    assert midas.assert_no_traceback(monkeypatch, checkpoints, image) > 30


@pytest.mark.parametrize("case", ["vit", "beit"])
def test_what_config_json_leaves_out_is_as_transformers_takes_it(tmp_path, models_of, case):
    """Folders written by other versions of `transformers` leave out what has its default value."""
    ours, theirs = models_of(case)
    theirs.save_pretrained(tmp_path)
    theirs.config.to_json_file(tmp_path / "config.json", use_diff=True)
    _, again, _ = make_dpt_from_state_dict(tmp_path)
    image = midas.images(128, 128, batch=2)
    assert torch.equal(again.inference(image), ours.inference(image))


@pytest.mark.parametrize("model_type, windows", [(None, [4, 4, 4, 2]), ("midas-swin2", [8, 8, 8, 4])])
def test_the_argument_goes_before_the_windows_of_config_json(tmp_path, model_type, windows):
    reference_model("swin2, first trained with smaller windows").save_pretrained(tmp_path)
    config, _, _ = make_dpt_from_state_dict(tmp_path, model_type=model_type)
    assert config["imgencoder"]["coordinate_windows"] == windows


# The releases' layout, filled with the weights of `transformers`: (its name, the release's name), one after the other

BLOCK = [
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.output.dense", "attn.proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
]


def renamed_weights(model: PreTrainedModel, folder: Path, rules: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """The file that save_pretrained writes, with every rule's regular expression replaced in every key, in order.

    Separate queries, keys and values are joined.
    """
    model.save_pretrained(folder)
    renamed = {}
    for key, tensor in load_file(folder / "model.safetensors").items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    for key in [key for key in renamed if ".query." in key]:
        parts = [renamed.pop(key.replace(".query.", f".{name}.")) for name in ("query", "key", "value")]
        renamed[re.sub(r"(attention\.)+(self\.)?query\.", "attn.qkv.", key)] = torch.cat(parts)
    return renamed


DPT_RULES = [
    (r"dpt\.encoder\.layer\.", "pretrained.model.blocks."),
    (r"dpt\.embeddings\.cls_token", "pretrained.model.cls_token"),
    (r"dpt\.embeddings\.position_embeddings", "pretrained.model.pos_embed"),
    (r"dpt\.embeddings\.(patch_embeddings\.)?projection", "pretrained.model.patch_embed.proj"),
    (r"dpt\.embeddings\.backbone\.bit\.", "pretrained.model.patch_embed.backbone."),
    (r"embedder\.convolution", "stem.conv"),
    (r"embedder\.norm", "stem.norm"),
    (r"encoder\.stages\.(\d)\.layers\.", r"stages.\1.blocks."),
    (r"dpt\.layernorm", "pretrained.model.norm"),
    (r"neck\.fusion_stage\.layers\.0\.", "scratch.refinenet4."),
    (r"neck\.fusion_stage\.layers\.1\.", "scratch.refinenet3."),
    (r"neck\.fusion_stage\.layers\.2\.", "scratch.refinenet2."),
    (r"neck\.fusion_stage\.layers\.3\.", "scratch.refinenet1."),
    (r"(refinenet\d)\.projection", r"\1.out_conv"),
    (r"residual_layer(\d)\.convolution(\d)", r"resConfUnit\1.conv\2"),
    (r"head\.head\.", "scratch.output_conv."),
    *((rf"neck\.convs\.{n}\.", f"scratch.layer{n + 1}_rn.") for n in range(4)),
    *((rf"neck\.reassemble_stage\.layers\.{n}\.projection", f"pretrained.act_postprocess{n + 1}.3") for n in range(4)),
    *((rf"neck\.reassemble_stage\.layers\.{n}\.resize", f"pretrained.act_postprocess{n + 1}.4") for n in range(4)),
    *(
        (rf"neck\.reassemble_stage\.readout_projects\.{n}\.0", f"pretrained.act_postprocess{n + 1}.0.project.0")
        for n in range(4)
    ),
    *BLOCK,
]


@torch.no_grad()
@pytest.mark.parametrize("config, sizes", [(vit, SQUARE[:2]), (hybrid, SQUARE[:1])], ids=["vit", "hybrid"])
def test_the_release_layout_of_the_same_weights_gives_the_same_depth(tmp_path, config, sizes):
    """One head of 64 features, and twelve blocks tapped as in the release: its layout has no config to say otherwise."""
    taps = [0, 1, 8, 11] if config is hybrid else [2, 5, 8, 11]
    settings = {"num_hidden_layers": 12, "num_attention_heads": 1, "backbone_out_indices": taps, "layer_norm_eps": 1e-6}
    theirs = seeded(DPTForDepthEstimation(config(**settings)), sizes[0])
    found, ours = midas.load(renamed_weights(theirs, tmp_path, DPT_RULES), f"dpt_{config.__name__}")
    assert found["model_type"] == f"midas-{config.__name__}"
    for size in sizes:
        image = midas.images(*size, batch=2)
        assert difference(ours(image), theirs(image).predicted_depth) <= SAME


SWIN_RULES = [
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.norm", "patch_embed.norm"),
    (r"^encoder\.", ""),
    (r"^layernorm", "norm"),
    (r"attention\.self\.relative_position", "attn.relative_position"),
    *BLOCK,
    (r"^", "pretrained.model."),
]


@torch.no_grad()
@pytest.mark.parametrize("window, side", [(4, 128), (7, 224)])
def test_swin_stages(tmp_path, window, side):
    """Windows of 4 x 4 tokens on grids of 32, 16, 8 and 4, and of 7 x 7 on 56, 28, 14 and 7: shifted in all but the last."""
    config = SwinConfig(
        embed_dim=32, depths=[2, 2, 4, 2], num_heads=[1, 2, 4, 8], window_size=window, image_size=side, out_features=STAGES
    )
    theirs = midas.seed_weights(SwinModel(config, add_pooling_layer=False)).eval()
    tensors = renamed_weights(theirs, tmp_path, SWIN_RULES) | scratch_of("tiny_dpt_swin2_128", {})
    for layer in range(3):  # buffers of the release from which the sizes are read
        grid = side // 4 // 2**layer
        for block in range(1, config.depths[layer], 2):
            mask = synthetic_checkpoint.swin_attention_mask((grid // window) ** 2, window**2)
            tensors[f"pretrained.model.layers.{layer}.blocks.{block}.attn_mask"] = torch.from_numpy(mask)
    found, ours = midas.load(tensors, "swin.pt")
    assert found["model_type"] == "midas-swin" and found["picture"]["side"] == side
    image = midas.images(side, side, batch=2)
    outputs = theirs(image, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    assert_all_same(ours.imgencoder(*ours.patch_embed(image)), list(outputs.reshaped_hidden_states[1:]))
    assert ours(image).shape == (2, side, side)


def scratch_of(name: str, widths: dict[int, int]) -> dict[str, torch.Tensor]:
    """The decoder of a manifest, with other widths."""
    keys = synthetic_checkpoint.load_manifest(name)["keys"]
    return {
        key: torch.ones([widths.get(side, side) for side in shape], dtype=getattr(torch, kind))
        for key, (*shape, kind) in keys.items()
        if key.startswith("scratch.")
    }


LEVIT_RULES = [
    (r"^patch_embeddings\.embedding_layer_(\d)\.", lambda match: f"patch_embed.{2 * int(match[1]) - 2}."),
    (r"convolution", "c"),
    (r"batch_norm", "bn"),
    (r"queries_keys_values", "qkv"),
    (r"keys_values", "kv"),
    (r"queries", "q.1"),
    (r"projection", "proj.1"),
    (r"linear_up", "0"),
    (r"linear_down", "2"),
    (r"linear", "c"),
    (r"\.module\.", ".m."),
    (r"^", "pretrained.model."),
]


@torch.no_grad()
def test_levit_stages(tmp_path):
    """Grids of 14, 7 and 4 (rounded up) tokens a side, as in the release, whose layers stand in one row."""
    config = LevitConfig(hidden_sizes=[64, 96, 128], num_attention_heads=[2, 3, 4], key_dim=[32] * 3, depths=[4] * 3)
    config.down_ops = [["Subsample", 32, 64 // 32, 4, 2, 2], ["Subsample", 32, 96 // 32, 4, 2, 2]]
    theirs = midas.seed_weights(LevitModel(config)).eval()
    layers = [layer for stage in theirs.encoder.stages for layer in stage.layers]
    taps = {}
    for number in (3, 11, 21):
        layers[number].register_forward_hook(lambda module, inputs, output, number=number: taps.update({number: output}))

    in_one_row = [
        (rf"^encoder\.stages\.{stage}\.layers\.(\d+)", lambda match, stage=stage: f"blocks.{10 * stage + int(match[1])}")
        for stage in range(3)
    ]
    tensors = renamed_weights(theirs, tmp_path, in_one_row + LEVIT_RULES)
    for number, layer in enumerate(layers):  # the release stores the index of its distances
        attention = getattr(layer, "module", layer)
        if hasattr(attention, "attention_bias_idxs"):
            inner = "" if attention is layer else "m."
            tensors[f"pretrained.model.blocks.{number}.{inner}attention_bias_idxs"] = attention.attention_bias_idxs
    found, ours = midas.load(tensors | scratch_of("dpt_levit_224", {384: 64, 512: 96, 768: 128}), "levit.pt")
    assert found["model_type"] == "midas-levit" and found["picture"]["side"] == 224

    image = midas.images(224, 224, batch=2)
    theirs(image)
    expected = [taps[number].transpose(1, 2).unflatten(2, (side, side)) for number, side in ((3, 14), (11, 7), (21, 4))]
    assert_all_same(ours.imgencoder(*ours.patch_embed(image)), expected)
    assert ours(image).shape == (2, 224, 224)


# Pictures, prepared as the folders' own preprocessor_config.json says

DINOV2_PROCESSOR = {  # of facebook/dpt-dinov2-*: values from 0 to 255, no resizing, a margin of the mean colour
    "do_resize": False,
    "do_rescale": False,
    "do_pad": True,
    "size_divisor": 14,
    "image_mean": [123.675, 116.28, 103.53],
    "image_std": [58.395, 57.12, 57.375],
}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
PROCESSORS = {
    "vit": HALF | {"size": {"height": 384, "width": 384}, "keep_aspect_ratio": False, "ensure_multiple_of": 1},
    "beit": HALF | {"size": {"height": 128, "width": 128}, "keep_aspect_ratio": True, "ensure_multiple_of": 32},
    "swin2": HALF | {"size": {"height": 256, "width": 256}, "keep_aspect_ratio": False, "ensure_multiple_of": 1},
    "dinov2": DINOV2_PROCESSOR,
}


@pytest.mark.parametrize("size", [(90, 120), (400, 400), (64, 97), (101, 81)], ids=str)
@pytest.mark.parametrize("case", PROCESSORS)
def test_pictures_are_prepared_alike(tmp_path, case, size):
    """With sizes for which PIL resizes rows before columns, as torch and torchvision always do. Its recent versions take
    whichever order is quicker, and rounding to 8 bits in between then makes a few pixels differ by more."""
    reference_model(case).save_pretrained(tmp_path)
    processor = DPTImageProcessorPil(**PROCESSORS[case])
    processor.save_pretrained(tmp_path)
    _, _, ours = make_dpt_from_state_dict(tmp_path)
    picture = make_picture(*size)
    prepared = ours.prepare_image_bgr(picture)
    theirs = processor(np.ascontiguousarray(picture[..., ::-1]), return_tensors="pt")["pixel_values"]
    assert prepared.shape == theirs.shape
    steps = (prepared - theirs).abs() * torch.tensor(ours.rule.std)[:, None, None] * 255
    limit = 0.001 if case == "dinov2" else 2.01  # resizing rounds to 8 bits, twice
    assert steps.max() < limit and (steps > 0.5).float().mean() < 0.01


@pytest.mark.parametrize("case", PROCESSORS)
def test_maps_return_to_the_picture_alike(tmp_path, case):
    reference_model(case).save_pretrained(tmp_path)
    _, _, ours = make_dpt_from_state_dict(tmp_path)
    maps = midas.images(70, 126)[:, 0]
    theirs = DPTImageProcessorPil().post_process_depth_estimation(DepthEstimatorOutput(predicted_depth=maps), [(97, 211)])
    assert difference(ours.scale_prediction(maps[0], (97, 211)), theirs[0]["predicted_depth"]) <= SAME
