"""Small models of every MiDaS encoder, for the tests whose file names begin with test_midas."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
import torch

import lib.make_dpt
from lib.checkpoints.files import Checkpoint
from lib.checkpoints.sizes import decoder_sizes
from lib.dpt_model import DPTModel, build_dpt
from lib.errors import CheckpointError
from lib.make_dpt import describe, load_weights, recognise_layout
from tests.reference import synthetic_checkpoint

OUTPUT = {"quantity": "inverse depth", "nearest_is_largest": True, "value_range": [0.0, None]}


def seed_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Seeded weights that keep a deep network well conditioned; its output is neither flat nor clipped at zero."""
    with torch.no_grad():
        statistics = [(name, tensor) for name, tensor in model.named_buffers() if "running_" in name]
        for name, tensor in [*model.named_parameters(), *statistics]:
            noise = torch.from_numpy(synthetic_checkpoint.seeded_normal(name, 0, tensor.shape))
            leaf = name.rsplit(".", 1)[-1]
            if leaf == "logit_scale":
                tensor.copy_(2.3 + 0.2 * noise)
            elif leaf == "running_var":
                tensor.copy_(1 + 0.1 * noise.abs())
            elif leaf in ("gamma", "lambda1", "lambda_1", "lambda_2"):
                tensor.copy_(0.5 + 0.1 * noise)
            elif any(
                word in name
                for word in ("token", "position_embeddings", "bias_table", "attention_biases", ".table", "distance_bias")
            ):
                tensor.copy_(0.5 * noise)
            elif tensor.dim() > 1:
                tensor.copy_(noise * tensor[0].numel() ** -0.5)
            elif leaf == "weight":
                tensor.copy_(1 + 0.1 * noise)
            else:
                tensor.copy_(0.1 * noise)
    return model


def as_checkpoint(tensors: Mapping[str, torch.Tensor], name: str, config: dict | None = None) -> Checkpoint:
    return Checkpoint(path=Path(name), tensors=dict(tensors), config=config)


def load(tensors: Mapping[str, torch.Tensor], name: str, model_type: str | None = None) -> tuple[dict, DPTModel]:
    """The last steps of make_dpt_from_state_dict, without a file."""
    checkpoint = as_checkpoint(tensors, name)
    layout = recognise_layout(checkpoint)
    config, _ = describe(checkpoint, layout, model_type)
    return config, load_weights(config, checkpoint.tensors, layout.keys, source=name).eval()


def assert_no_traceback(
    monkeypatch: pytest.MonkeyPatch, checkpoints: Iterable[tuple[tuple, Checkpoint]], image: torch.Tensor
) -> int:
    """Each checkpoint (with the place of its garbage) is refused in one sentence, or a model that runs. Counts the refused."""
    broken, num_refused = [], 0
    for place, checkpoint in checkpoints:
        monkeypatch.setattr(lib.make_dpt, "read_checkpoint", lambda path, checkpoint=checkpoint: checkpoint)
        try:
            lib.make_dpt.make_dpt_from_state_dict(checkpoint.path)[1].inference(image)
        except CheckpointError:
            num_refused += 1
        except Exception as error:
            is_other_size = isinstance(error, ValueError) and re.search("must be multiples of|can only do", str(error))
            if not is_other_size:  # a model of another size is a model
                broken.append((place, repr(error)))
    assert broken == []
    return num_refused


def shapes_of(name: str) -> dict[str, torch.Tensor]:
    """Tensors of a manifest's shapes and types that take no memory."""
    keys = synthetic_checkpoint.load_manifest(name)["keys"]
    return {key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, (*shape, kind) in keys.items()}


def _decoder(widths: list[int], readouts: list, scales: list) -> dict:
    return decoder_sizes(
        stage_features=widths,
        stage_channels=widths,
        readouts=readouts,
        scales=scales,
        fusion_features=32,
        head_channels=[16, 8],
    )


def _swin_config(*, is_v2: bool) -> dict:
    windows, counts = ([8, 8, 8, 4], [4, 2, 1, 1]) if is_v2 else ([4] * 4, [8, 4, 2, 1])  # as in the releases
    encoder = {"features": 32, "depths": [2, 2, 2, 2], "heads": [1, 2, 4, 8], "windows": windows, "windows_per_side": counts}
    return {
        "encoder": "swin",
        "patch_embed": {"features": 32, "patch_size": 4, "norm": True},
        "imgencoder": encoder | {"coordinate_windows": windows if is_v2 else None},
        **_decoder([32, 64, 128, 256], [None] * 4, [1] * 4),
    }


BLOCKS = {"features": 64, "heads": 2, "hidden": 128, "num_blocks": 4, "taps": [0, 1, 2, 3], "table_side": 8}
VIT = BLOCKS | {"layer_scale": False, "final_norm": False, "position_mode": "bilinear", "position_offset": 0.0}


def _blocks_config(encoder: str, settings: dict) -> dict:
    return {
        "encoder": encoder,
        "patch_embed": {"features": 64, "patch_size": 16},
        "imgencoder": settings,
        **_decoder([64] * 4, ["project"] * 4, [4, 2, 1, 0.5]),
    }


def _hybrid_config() -> dict:
    return {
        "encoder": "hybrid",
        "patch_embed": {"channels": 64},
        "imgencoder": {"stem_channels": 64, "depths": [1, 1, 1], "vit": VIT | {"taps": [1, 3]}},
        **_decoder([256, 512, 64, 64], [None, None, "project", "project"], [1, 1, 1, 0.5]),
    }


def _levit_config() -> dict:
    decoder = _decoder([64, 96, 128], [None] * 3, [1] * 3)
    decoder["fusion"]["num_stages"] = 3
    decoder["head"]["stem_channels"] = [24, 16]
    return {
        "encoder": "levit",
        "patch_embed": {"channels": [8, 16, 32, 64], "image_size": 128},
        "imgencoder": {"widths": [64, 96, 128], "heads": [2, 3, 4], "depth": 2, "side": 8, "taps": [1, 7, 13]},
        **decoder,
    }


CONFIGS = {
    "vit": _blocks_config("vit", VIT),
    "beit": _blocks_config("beit", BLOCKS),
    "swin2": _swin_config(is_v2=True),
    "swin": _swin_config(is_v2=False),
    "hybrid": _hybrid_config(),
    "levit": _levit_config(),
}
FAMILIES = list(CONFIGS)


def small_model(family: str) -> DPTModel:
    """A fresh small model of one encoder family, always with the same weights; its native picture is 128 x 128."""
    model = seed_weights(build_dpt(CONFIGS[family] | {"output": OUTPUT})).eval()
    calibrate(model.head.conv_3, lambda: model(images()))
    model.set_cache(True)  # forget that
    return model


@torch.no_grad()
def calibrate(last: torch.nn.Conv2d, predict: Callable[[], torch.Tensor], std: float = 1.0) -> None:
    """Rescales the last convolution: a map of mean 4 and this standard deviation, of which the ReLU clips next to nothing."""
    last.bias.fill_(100.0)  # above zero everywhere
    depth = predict()
    scale = std / depth.std()
    last.weight *= scale
    last.bias.fill_(4 - scale * (depth.mean() - 100))


def images(height: int = 128, width: int = 128, batch: int = 1) -> torch.Tensor:
    return synthetic_checkpoint.model_input("midas", height, width, batch=batch)
