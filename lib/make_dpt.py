"""From a weight file to a model: read, recognise, decide what shapes cannot tell, convert, build. The only entry."""

from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from .checkpoints import LAYOUTS
from .checkpoints.files import Checkpoint, read_checkpoint, save_dpt
from .checkpoints.keys import KeyMap, convert_tensors
from .dpt_model import DPTModel, build_dpt
from .errors import CheckpointError
from .image_processor import DPTImageProcessor, PictureRule
from .releases import MODEL_TYPES, RELEASES, ModelType, find_release, type_from_file_name

__all__ = ["make_dpt_from_state_dict", "save_dpt"]

OWN_KEYS = KeyMap({"": ""})  # our own files already use our names


def make_dpt_from_state_dict(
    path_to_state_dict: str | Path,
    enable_cache: bool = True,
    enable_optimizations: bool = True,
    strict_load: bool = True,
    model_type: str | None = None,
) -> tuple[dict, DPTModel, DPTImageProcessor]:
    """Load any supported weight file: returns (model_config_dict, dpt_model, dpt_imgproc), float32, on the CPU, in eval mode.

    path_to_state_dict: .pth, .pt or .safetensors file in a release's own key layout, a Hugging Face folder, or a file
        written by `save_dpt`.
    enable_cache: remember position encodings between calls. enable_optimizations: PyTorch's fused attention instead of the
        plain softmax formula. Neither changes the numbers beyond rounding.
    strict_load: every weight must be there and every key known. False fills what is missing with fresh weights, ignores
        what is unknown, and prints both.
    model_type: what the weights are, where they cannot tell: a key of MODEL_TYPES or RELEASES in lib/releases.py. Without
        it the config beside the weights decides, then the published file name; one printed line says which and why.

    Raises CheckpointError with one sentence that names the file and what is wrong with it.
    """
    checkpoint = read_checkpoint(path_to_state_dict)
    source = str(checkpoint.path)
    if checkpoint.own_config is not None:
        keys, config, reason = OWN_KEYS, checkpoint.own_config, "its own config says so"
        if model_type is not None and _type_row(model_type, "the argument model_type").name != config.get("model_type"):
            raise CheckpointError(
                f"{source}: by its own config this is {config.get('model_type')!r}, not {model_type!r}; leave model_type out"
            )
    else:
        layout = recognise_layout(checkpoint)
        keys = layout.KEYS
        config, reason = describe(checkpoint, layout, model_type)
    print(f"{checkpoint.name}: {summary(config)} ({reason})")

    model = load_weights(config, checkpoint.tensors, keys, source=source, strict=strict_load)
    model.set_cache(enable_cache)
    model.set_fused_attention(enable_optimizations)
    try:
        imgproc = DPTImageProcessor(PictureRule(**config["picture"]))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{source}: its config is damaged ({error})") from error
    return config, model.eval(), imgproc


def recognise_layout(checkpoint: Checkpoint) -> ModuleType:
    """The key layout (a module of lib/checkpoints) that these tensors are in; CheckpointError if none fits."""
    for layout in LAYOUTS:
        if layout.matches(checkpoint.tensors):
            return layout
    examples = ", ".join(list(checkpoint.tensors)[:3])
    known = "; ".join(layout.TITLE for layout in LAYOUTS)
    raise CheckpointError(
        f"{checkpoint.path}: not a depth model that is known here: keys like {examples} fit none of the layouts ({known})"
    )


def describe(checkpoint: Checkpoint, layout: ModuleType, model_type: str | None) -> tuple[dict, str]:
    """The complete model config: sizes from shapes, the rest from the decided model type. Also says why, in words."""
    source = str(checkpoint.path)
    config = layout.read_sizes(checkpoint.tensors, checkpoint.config, source=source)
    encoder = config["imgencoder"]
    row, max_depth, reason = decide_type(checkpoint, model_type)

    told_taps = encoder.get("taps") if model_type is None else None
    taps, tap_reason = (told_taps, "") if told_taps else choose_taps(row, encoder["num_blocks"], source)
    if len(taps) != 4 or list(taps) != sorted(set(taps)) or not 0 <= taps[0] <= taps[-1] < encoder["num_blocks"]:
        raise CheckpointError(f"{source}: cannot tap blocks {list(taps)} of {encoder['num_blocks']}; expected four of them")
    encoder["taps"] = list(taps)
    encoder.setdefault("position_offset", row.position_offset)

    is_metric = max_depth is not None
    config["head"] |= {"activation": "sigmoid" if is_metric else "relu", "scale": max_depth if is_metric else 1.0}
    config["output"] = {
        "quantity": "metres" if is_metric else "inverse depth",
        "nearest_is_largest": not is_metric,
        "value_range": [0.0, max_depth],
    }
    rule = getattr(layout, "PICTURE", row.picture)
    config["picture"] = asdict(apply_preprocessor(rule, checkpoint.preprocessor, source))
    release = find_release(row.name, features=encoder["features"], blocks=encoder["num_blocks"])
    config = {"model_type": row.name, "release": release.name if release else None, **config}
    return config, reason + tap_reason


def decide_type(checkpoint: Checkpoint, model_type: str | None) -> tuple[ModelType, float | None, str]:
    """What shapes cannot tell: the row of MODEL_TYPES, the range in metres (None: relative), and why.

    In this order: the argument, the config beside the weights, the file's name. If none tells, Depth-Anything V2 relative,
    and the reason says that this is an assumption.
    """
    source, config = str(checkpoint.path), checkpoint.config or {}
    name_type = type_from_file_name(checkpoint.name)
    if model_type is not None:
        row = _type_row(model_type, "the argument model_type")
        return row, row.max_depth, f"model_type={model_type!r} says so"
    if config.get("model_type") == "depth_anything":  # a Hugging Face config.json
        max_depth = config.get("max_depth") if config.get("depth_estimation_type") == "metric" else None
        blocks = (config.get("backbone_config") or {}).get("out_indices") or []
        is_v1 = list(blocks) == list(range(min(blocks, default=0), min(blocks, default=0) + 4))
        guess = MODEL_TYPES["depth-anything-v1" if is_v1 else "depth-anything-v2"]
        row = MODEL_TYPES.get(name_type, guess)
        if config.get("depth_estimation_type") == "metric":
            if not isinstance(max_depth, int | float) or max_depth <= 0:
                raise CheckpointError(f"{source}: its config.json says metric, but gives no max_depth in metres")
            row = _metric_row(float(max_depth), row)
        elif row.is_metric:
            row = guess
        return row, None if max_depth is None else float(max_depth), "config.json says so"
    if "model_type" in config:
        row = _type_row(config["model_type"], f"the config beside {source}")
        max_depth = config.get("max_depth", row.max_depth)
        return row, None if max_depth is None else float(max_depth), "the config beside the weights says so"
    if name_type is not None:
        row = MODEL_TYPES[name_type]
        return row, row.max_depth, "the file name says so"
    if "metric" in checkpoint.name.lower():
        raise CheckpointError(
            f"{source}: the name says metric, but not for which range: pass model_type="
            + " or ".join(repr(name) for name, row in MODEL_TYPES.items() if row.is_metric)
        )
    row = MODEL_TYPES["depth-anything-v2"]
    return row, None, "ASSUMED: neither model_type nor a config nor the file name tells; V1, V2 and metric weights look alike"


def choose_taps(row: ModelType, num_blocks: int, source: str) -> tuple[tuple[int, ...], str]:
    """The tapped blocks of this type at this depth, and a remark where no release has this depth."""
    if num_blocks < 4:
        raise CheckpointError(f"{source}: found {num_blocks} encoder blocks, expected at least four")
    if row.taps == "last four":
        return tuple(range(num_blocks - 4, num_blocks)), ""
    if num_blocks in row.taps:
        return row.taps[num_blocks], ""
    quarters = tuple(num_blocks * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
    return quarters, f"; taps {list(quarters)} ASSUMED: no release has {num_blocks} blocks"


def apply_preprocessor(rule: PictureRule, preprocessor: dict | None, source: str) -> PictureRule:
    """A Hugging Face folder's preprocessor_config.json over the rule of its layout."""
    if not preprocessor:
        return rule
    changes = {}
    try:
        size = preprocessor.get("size")
        if isinstance(size, dict):
            size = size.get("height", size.get("shortest_edge"))
        if size is not None:
            changes["side"] = int(size)
        if "keep_aspect_ratio" in preprocessor:
            changes["fit"] = "minimal" if preprocessor["keep_aspect_ratio"] else "stretch"
        if "ensure_multiple_of" in preprocessor:
            changes["multiple"] = int(preprocessor["ensure_multiple_of"])
        for key in ("mean", "std"):
            if f"image_{key}" in preprocessor:
                changes[key] = tuple(float(value) for value in preprocessor[f"image_{key}"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its preprocessor_config.json is damaged ({error})") from error
    return replace(rule, **changes)


def load_weights(config: dict, tensors: dict[str, Tensor], keys: KeyMap, *, source: str, strict: bool = True) -> DPTModel:
    """Build the network that the config describes and give it the tensors, without ever holding two copies.

    strict=False: what does not fit is printed and left out, and those parts of the network keep fresh random weights.
    """
    try:
        with torch.device("meta"):  # no memory, no initialisation
            model = build_dpt(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(f"{source}: its config describes no model ({type(error).__name__}: {error})") from error
    fitting, complaints = convert_tensors(tensors, keys, model.state_dict())
    if complaints and strict:
        raise CheckpointError(f"{source}: {'; '.join(complaints[:3])}")
    if complaints:
        print(f"{source}: loading what fits: {'; '.join(complaints)}")
        model = build_dpt(config)
    model.load_state_dict(fitting, strict=not complaints, assign=True)
    return model


def summary(config: dict) -> str:
    """One line on a model: type, size, what it predicts."""
    row = MODEL_TYPES.get(config.get("model_type"))
    encoder, output = config.get("imgencoder", {}), config.get("output", {})
    title = row.title if row else config.get("model_type", "a model of unknown type")
    low, high = output.get("value_range", (0, None))
    quantity = output.get("quantity", "unknown quantity")
    if high is not None:
        quantity = f"{quantity}, {low:g} to {high:g}"
    return f"{title}: {encoder.get('num_blocks')} blocks of {encoder.get('features')} features, predicts {quantity}"


def _type_row(name: object, where: str) -> ModelType:
    if isinstance(name, str) and name in RELEASES:
        name = RELEASES[name].model_type
    if not isinstance(name, str) or name not in MODEL_TYPES:
        raise CheckpointError(f"{where} is {name!r}; expected one of {', '.join([*MODEL_TYPES, *RELEASES])}")
    return MODEL_TYPES[name]


def _metric_row(max_depth: float, fallback: ModelType) -> ModelType:
    """The metric type with this range; where no release has it, the nearest description."""
    same_range = [row for row in MODEL_TYPES.values() if row.max_depth == max_depth]
    return same_range[0] if same_range else fallback
