"""From a weight file to a model: read, recognise, decide what shapes cannot tell, convert, build. The only entry."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from .checkpoints import LAYOUTS, UNSUPPORTED
from .checkpoints.files import Checkpoint, read_checkpoint, save_dpt
from .checkpoints.keys import KeyMap, convert_tensors
from .checkpoints.layout import Layout
from .checkpoints.sizes import Shapes
from .checkpoints.zoedepth import range_of
from .decide_type import choose_taps, decide_type, type_row
from .dpt_model import DPTModel, build_dpt
from .errors import CheckpointError, UserError, one_line
from .image_processor import DPTImageProcessor, PictureRule
from .model_types import MODEL_TYPES
from .releases import find_release

__all__ = ["make_dpt_from_state_dict", "save_dpt"]

MOST_BLOCKS = 1000
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
    enable_cache: remember position encodings between calls. enable_optimizations: quick attention and linear layers
        instead of the plain formulas. Neither changes the numbers beyond rounding.
    strict_load: every weight must be there and every key known. False fills what is missing with fresh weights, ignores
        what is unknown, and prints both.
    model_type: what the weights are, where they cannot tell: a key of MODEL_TYPES (lib/model_types.py) or of RELEASES
        (lib/releases.py). Without it the config beside the weights decides, then the published file name; one printed line says
        which and why.

    Raises CheckpointError with one sentence that names the file and what is wrong with it.
    """
    checkpoint = read_checkpoint(path_to_state_dict)
    source = str(checkpoint.path)
    with _config_errors(source):
        if checkpoint.own_config is not None:
            keys, config, reason = OWN_KEYS, checkpoint.own_config, "its own config says so"
            if model_type is not None and type_row(model_type, "the argument model_type").name != config.get("model_type"):
                raise CheckpointError(
                    f"{source}: by its own config this is {config.get('model_type')!r}, not {model_type!r}; "
                    "leave model_type out"
                )
        else:
            layout = recognise_layout(checkpoint)
            keys = layout.keys
            config, reason = describe(checkpoint, layout, model_type)
        imgproc = DPTImageProcessor(PictureRule(**config["picture"]))
        print(one_line(f"{checkpoint.name}: {summary(config)} ({reason})"))

    model = load_weights(config, checkpoint.tensors, keys, source=source, strict=strict_load)
    model.set_cache(enable_cache)
    model.set_fused_attention(enable_optimizations)
    return config, model.eval(), imgproc


def recognise_layout(checkpoint: Checkpoint) -> Layout:
    """The key layout that these tensors are in; CheckpointError if none fits."""
    for layout in LAYOUTS:
        if layout.matches(checkpoint.tensors):
            return layout
    for prefix, title in UNSUPPORTED.items():
        found = [key for key in checkpoint.tensors if key.startswith(prefix)]
        if found:
            raise CheckpointError(f"{checkpoint.path}: keys like {found[0]} are those of {title}, and not supported")
    examples = ", ".join(list(checkpoint.tensors)[:3])
    known = "; ".join(layout.title for layout in LAYOUTS)
    raise CheckpointError(
        f"{checkpoint.path}: not a depth model that is known here: keys like {examples} fit none of the layouts ({known})"
    )


def describe(checkpoint: Checkpoint, layout: Layout, model_type: str | None) -> tuple[dict, str]:
    """The complete model config: sizes from shapes, the rest from the decided model type. Also says why, in words."""
    source = str(checkpoint.path)
    shapes = Shapes(checkpoint.tensors, source)
    sizes = layout.read_sizes(shapes, checkpoint.config or {})
    native_side = sizes.pop("native_side")
    row, max_depth, reason = decide_type(checkpoint, layout, sizes, model_type)
    encoder = sizes["imgencoder"]

    tapped = encoder.get("vit", encoder)  # of a hybrid, the transformer behind the convolutions
    if row.taps and ("taps" not in tapped or model_type is not None):
        taps, remark = choose_taps(row, tapped.get("num_blocks", 0), source)
        tapped["taps"] = list(taps)
        reason += remark
    is_swin_v2 = "windows" in encoder and encoder.get("coordinate_windows", ()) is not None
    if is_swin_v2 and ("coordinate_windows" not in encoder or model_type is not None):
        encoder["coordinate_windows"] = [round(size * row.pretrained_window_ratio) for size in encoder["windows"]]

    sizes["head"] |= {"activation": "relu", "scale": 1.0}
    value_range, is_published_range = [0.0, max_depth], max_depth == row.max_depth
    if "metric_head" in sizes:
        value_range, remark = range_of(sizes["metric_head"], max_depth, shapes)
        reason += remark
        is_published_range = True  # the range of such a head is a setting
    elif max_depth is not None:
        sizes["head"] |= {"activation": "sigmoid", "scale": max_depth}
    is_metric = row.is_metric or max_depth is not None
    output = {
        "quantity": "metres" if is_metric else "inverse depth",
        "nearest_is_largest": not is_metric,
        "value_range": value_range,
    }
    rule = layout.picture or row.picture
    if row.side_from_weights:
        rule = replace(rule, side=native_side)
    picture = apply_preprocessor(rule, checkpoint.preprocessor, source)
    picture_section = asdict(picture) | {"mean": list(picture.mean), "std": list(picture.std)}  # as JSON has it
    features, blocks = encoder_size(sizes)
    release = find_release(row.name, features=features, blocks=blocks, side=native_side)
    is_published = release is not None and is_published_range
    names = {"model_type": row.name, "release": release.name if is_published else None}
    return {**names, **sizes, "output": output, "picture": picture_section}, reason


def encoder_size(config: dict) -> tuple[int, int]:
    """(features of a token, number of blocks) of a config; for a pyramid, features of the first stage and blocks of all."""
    encoder = config["imgencoder"]
    encoder = encoder.get("vit", encoder)
    if "widths" in encoder:  # LeViT
        return encoder["widths"][0], encoder["depth"] * len(encoder["widths"])
    return encoder["features"], encoder["num_blocks"] if "num_blocks" in encoder else sum(encoder["depths"])


def apply_preprocessor(rule: PictureRule, preprocessor: dict | None, source: str) -> PictureRule:
    """A Hugging Face folder's preprocessor_config.json over the rule of its layout."""
    if not preprocessor:
        return rule
    changes = {}
    try:
        size = preprocessor.get("size") if preprocessor.get("do_resize", True) else None
        if isinstance(size, dict):
            if rule.width is not None and "width" in size:
                changes["width"] = int(size["width"])
            elif size.get("height") != size.get("width"):
                raise ValueError(f"expected a square size, not {size}")
            size = size.get("height", size.get("shortest_edge"))
        if rule.reflect_padding and "do_pad" in preprocessor:
            changes["reflect_padding"] = bool(preprocessor["do_pad"])
        if size is not None:
            changes["side"] = int(size)
        if size is not None and "keep_aspect_ratio" in preprocessor:
            changes["fit"] = "minimal" if preprocessor["keep_aspect_ratio"] else "stretch"
        if "ensure_multiple_of" in preprocessor:
            # 1 is said of models whose only size fits anyway: other sizes must still be multiples of the patch
            changes["multiple"] = math.lcm(rule.multiple, math.ceil(preprocessor["ensure_multiple_of"]))
        unit = 1 if preprocessor.get("do_rescale", True) else 255  # values that are not rescaled lie between 0 and 255
        for key in ("mean", "std"):
            if f"image_{key}" in preprocessor:
                changes[key] = tuple(float(value) / unit for value in preprocessor[f"image_{key}"])
        return replace(rule, **changes)
    except (OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its preprocessor_config.json is damaged ({error})") from error


def load_weights(config: dict, tensors: dict[str, Tensor], keys: KeyMap, *, source: str, strict: bool = True) -> DPTModel:
    """Build the network that the config describes and give it the tensors, without ever holding two copies.

    strict=False: what does not fit is printed and left out, and those parts of the network keep fresh random weights.
    """
    with _config_errors(source), torch.device("meta"):  # no memory, no initialisation
        _check_counts(config)
        model = build_dpt(config)
    fitting, complaints = convert_tensors(tensors, keys, model.state_dict())
    if complaints and strict:
        raise CheckpointError(f"{source}: {'; '.join(complaints[:3])}")
    if complaints:
        print(one_line(f"{source}: loading what fits: {'; '.join(complaints)}"))
        with _config_errors(source):
            model = build_dpt(config)
    model.load_state_dict(fitting, strict=not complaints, assign=True)
    return model


def _check_counts(config: dict) -> None:
    """Building a billion blocks, as a damaged or hostile config may ask for, would never end."""
    for name, value in config.items():
        if isinstance(value, dict):
            _check_counts(value)
        elif name in ("num_blocks", "num_stages", "depths", "depth"):
            largest = max(value) if isinstance(value, list) else value
            if largest > MOST_BLOCKS:
                raise ValueError(f"{name} is {largest}, more than any network has")


@contextmanager
def _config_errors(source: str) -> Iterator[None]:
    """A config from a file can be wrong in any way; whatever that breaks becomes one sentence that names the file."""
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: its config describes no model ({type(error).__name__}: {error})") from error


def summary(config: dict) -> str:
    """One line on a model: type, size, what it predicts."""
    row = MODEL_TYPES.get(config.get("model_type"))
    output = config.get("output", {})
    features, blocks = encoder_size(config)
    title = row.title if row else config.get("model_type", "a model of unknown type")
    low, high = output.get("value_range", (0, None))
    if row and row.bins is None and high != row.max_depth:  # a range that nobody published: "indoor" would be wrong
        title = title.partition(",")[0]
    quantity = output.get("quantity", "unknown quantity")
    if high is not None:
        quantity = f"{quantity}, {low:g} to {high:g}"
    return f"{title}: {blocks} blocks of {features} features, predicts {quantity}"
