"""What weights mean, where their shapes cannot tell: the row of MODEL_TYPES, the range in metres, the tapped blocks."""

import re
from dataclasses import replace

from .checkpoints.files import Checkpoint
from .checkpoints.layout import Layout
from .checkpoints.zoedepth import bins_kind
from .errors import CheckpointError
from .model_types import MODEL_TYPES, ModelType, type_from_file_name
from .releases import RELEASES


def decide_type(
    checkpoint: Checkpoint, layout: Layout, sizes: dict, model_type: str | None
) -> tuple[ModelType, float | None, str]:
    """What the weights mean: the row of MODEL_TYPES, the range in metres (None: none known), and why.

    In this order: the argument, the config beside the weights, the shapes where they leave one possibility, the file's name.
    If none tells, Depth-Anything V2 relative, and the reason says that this is an assumption.
    """
    source, config = str(checkpoint.path), checkpoint.config or {}
    of_family = {name: row for name, row in MODEL_TYPES.items() if row.family == layout.family}
    bins = bins_kind(sizes)
    candidates = {name: row for name, row in of_family.items() if row.bins == bins} or of_family
    name_type = type_from_file_name(checkpoint.name)

    def check_family(fits: bool, told: str) -> None:
        if not fits:
            expected = " or ".join(candidates)
            raise CheckpointError(f"{source}: {told} cannot be: the keys are those of {layout.title}; expected {expected}")

    if model_type is not None:
        row = type_row(model_type, "the argument model_type")
        check_family(row.name in candidates, f"model_type={model_type!r}")
        return row, row.max_depth, f"model_type={model_type!r} says so"
    if config.get("model_type") == "depth_anything":  # a Hugging Face config.json
        check_family(layout.family == "depth-anything", "the config's model_type 'depth_anything'")
        max_depth = config.get("max_depth") if config.get("depth_estimation_type") == "metric" else None
        blocks = (config.get("backbone_config") or {}).get("out_indices") or []
        is_v1 = list(blocks) == list(range(min(blocks, default=0), min(blocks, default=0) + 4))
        guess = MODEL_TYPES["depth-anything-v1" if is_v1 else "depth-anything-v2"]
        row = MODEL_TYPES.get(name_type, guess)
        if config.get("depth_estimation_type") == "metric":
            max_depth = _metres(max_depth, source)
            row = _metric_row(max_depth, row)
        elif row.is_metric:
            row = guess
        return row, max_depth, "config.json says so"
    is_hf_dpt = config.get("model_type") in ("dpt", "zoedepth")  # says nothing that the keys do not
    if not is_hf_dpt and ("model_type" in config or "max_depth" in config):
        row = type_row(config.get("model_type"), f"model_type in the config beside {source}")
        check_family(row.name in candidates, f"the config's model_type {config['model_type']!r}")
        max_depth = _metres(config["max_depth"], source) if "max_depth" in config else row.max_depth
        return row, max_depth, "the config beside the weights says so"
    window = sizes["imgencoder"].get("windows", [None])[0]
    told_by_shapes = [row for row in candidates.values() if row.window == window is not None] or [
        row for row in candidates.values() if row.window is None
    ]
    if len(told_by_shapes) == 1:
        return told_by_shapes[0], told_by_shapes[0].max_depth, "keys and shapes say so"
    if name_type in candidates:
        row = MODEL_TYPES[name_type]
        return row, row.max_depth, "the file name says so"
    first, *others = candidates.values()
    if all(replace(row, name=first.name, title=first.title, file_pattern=first.file_pattern) == first for row in others):
        either = " or ".join(candidates)
        return first, first.max_depth, f"keys say so, but not whether it is {either}; no number depends on that"
    if re.search(r"(?<![a-z])metric(?![a-z])", checkpoint.name.lower()):  # but not "symmetric" or "geometric"
        raise CheckpointError(
            f"{source}: the name says metric, but not for which range: pass model_type="
            + " or ".join(repr(name) for name, row in candidates.items() if row.is_metric)
        )
    row = MODEL_TYPES["depth-anything-v2"]
    return row, None, "ASSUMED: neither model_type nor a config nor the file name tells; V1, V2 and metric weights look alike"


def choose_taps(row: ModelType, num_blocks: int, source: str) -> tuple[tuple[int, ...], str]:
    """The tapped blocks of this type at this depth, and a remark where no release has this depth."""
    if isinstance(row.taps, tuple):
        return row.taps, ""
    if num_blocks < 4:
        raise CheckpointError(f"{source}: found {num_blocks} encoder blocks, expected at least four")
    if row.taps == "last four":
        return tuple(range(num_blocks - 4, num_blocks)), ""
    if num_blocks in row.taps:
        return row.taps[num_blocks], ""
    quarters = tuple(num_blocks * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
    return quarters, f"; taps {list(quarters)} ASSUMED: no release has {num_blocks} blocks"


def type_row(name: object, where: str) -> ModelType:
    """The row of MODEL_TYPES with this name, or of the release with this name. where: who names it, for the CheckpointError."""
    if isinstance(name, str) and name in RELEASES:
        name = RELEASES[name].model_type
    if not isinstance(name, str) or name not in MODEL_TYPES:
        raise CheckpointError(f"{where} is {name!r}; expected one of {', '.join([*MODEL_TYPES, *RELEASES])}")
    return MODEL_TYPES[name]


def _metres(max_depth: object, source: str) -> float:
    if isinstance(max_depth, bool) or not isinstance(max_depth, int | float) or not 0 < max_depth < float("inf"):
        raise CheckpointError(f"{source}: its config says max_depth is {max_depth!r}; expected a number of metres")
    return float(max_depth)


def _metric_row(max_depth: float, fallback: ModelType) -> ModelType:
    """The metric type with this range; where no release has it, the nearest description."""
    same_range = [row for row in MODEL_TYPES.values() if row.max_depth == max_depth]
    return same_range[0] if same_range else fallback
