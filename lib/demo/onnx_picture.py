"""Preparing pictures and bringing maps back as part of an ONNX file: uint8 picture in, depth at the picture's size out.

What DPTImageProcessor does with OpenCV and PyTorch, in ONNX' own operations, for pictures of any size.

Shapes: B batch, H0 W0 the picture, H W the network's input.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..errors import PictureError, UserError
from ..image_processor import DPTImageProcessor, PictureRule, as_rgb, to_unit_range
from .onnx_metadata import OnnxFacts

# Where graphs leave out an optional input.
NOTHING = "nothing"
RESIZE = {
    "cv2_cubic": 'mode = "cubic", cubic_coeff_a = -0.75, coordinate_transformation_mode = "half_pixel"',
    "bilinear_corners": 'mode = "linear", coordinate_transformation_mode = "align_corners"',
    "bilinear": 'mode = "linear", coordinate_transformation_mode = "half_pixel"',
    "bicubic": 'mode = "cubic", cubic_coeff_a = -0.75, coordinate_transformation_mode = "half_pixel"',
}


class FixedSizeProcessor(DPTImageProcessor):
    """For files whose network takes one size: every picture is stretched to it."""

    def __init__(self, rule: PictureRule, fixed_hw: tuple[int, int]):
        super().__init__(replace(rule, fit="stretch") if rule.fit == "pad" else rule)
        self.fixed_hw = fixed_hw

    def network_size(self, height: int, width: int, *, max_side_length: int | None = None, **_) -> tuple[int, int]:
        """The only size. Raises PictureError when another one is asked for."""
        if max_side_length not in (None, max(self.fixed_hw)):
            raise PictureError(
                f"this file was exported for {self.fixed_hw[1]} x {self.fixed_hw[0]} pixels only, not {max_side_length}: "
                "leave the processing size (-b) out, or export it without a size"
            )
        return self.fixed_hw


class WholePictureProcessor(DPTImageProcessor):
    """For files that prepare pictures themselves: hands pictures over as they are."""

    def network_size(
        self, height: int, width: int, *, max_side_length: int | None = None, use_square_sizing: bool = False, **_
    ) -> tuple[int, int]:
        """The picture's own size. Raises PictureError when another one is asked for."""
        if max_side_length is not None or use_square_sizing:
            raise PictureError("this file has its processing size built in: leave -b and --square out")
        return height, width

    def prepare_image_bgr(
        self, image_bgr: np.ndarray, max_side_length: int | None = None, use_square_sizing: bool = False, **_
    ) -> Tensor:
        """A picture as OpenCV reads it -> 1 x H0 x W0 x 3, BGR, uint8; pictures of more bits are rounded."""
        image_rgb = as_rgb(image_bgr)
        sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
        self.network_size(*image_rgb.shape[:2], **sizing)
        if image_rgb.dtype != np.uint8:
            image_rgb = np.round(to_unit_range(image_rgb) * 255).astype(np.uint8)
        return torch.from_numpy(np.ascontiguousarray(image_rgb[..., ::-1]))[None]  # H0 W0 3 -> 1 H0 W0 3

    def scale_prediction(self, prediction: Tensor, output_hw: tuple[int, int], **_) -> Tensor:
        """The map, which has the picture's size already."""
        return prediction.float()


def with_pictures(network, facts: OnnxFacts):
    """An ONNX network (a ModelProto) with preparation and way back around it, as `facts` say; facts.takes_pictures is set.

    Raises UserError for models whose pictures get a mirrored border, or two runs, and for those whose pictures are resized
    with antialiasing on 8-bit values, which every engine does in its own way.
    """
    import onnx

    rule = facts.rule
    if rule.reflect_padding or rule.flip_average:
        raise UserError(
            "pictures cannot be built in for a model that mirrors a border around them or averages two runs: "
            "leave --pictures out, or pass --no_pad --no_flip"
        )
    if rule.resample not in RESIZE:
        raise UserError(f"this model's way of resizing pictures ({rule.resample}) cannot be built in: leave --pictures out")
    network = onnx.compose.add_prefix(network, "network/")  # so that no name is there twice
    depth_name, input_name = network.graph.output[0].name, network.graph.input[0].name
    prepare = _model(_prepare_text(facts), _numbers(facts), network)
    restore = _model(_restore_text(rule), {"one": np.array([1], np.int64)}, network)
    merge = onnx.compose.merge_models
    prepared = merge(prepare, network, io_map=[("prepared", input_name)], outputs=["picture_hw", depth_name])
    whole = merge(prepared, restore, io_map=[(depth_name, "network_depth"), ("picture_hw", "output_hw")])
    del whole.metadata_props[:]
    return whole


def _model(text: str, numbers: dict[str, np.ndarray], network):
    """The graph that the text describes, with these constants, for merging with the network."""
    import onnx

    graph = onnx.parser.parse_graph(text)
    for node in graph.node:
        node.input[:] = ["" if name == NOTHING else name for name in node.input]
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in numbers.items())
    opsets = [onnx.helper.make_opsetid(opset.domain, opset.version) for opset in network.opset_import]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=network.ir_version)


def _numbers(facts: OnnxFacts) -> dict[str, np.ndarray]:
    """The constants of `_prepare_text`."""
    rule = facts.rule
    fixed_hw, _ = _target(facts)
    return {
        "target": np.array(fixed_hw, np.float64),
        "multiple": np.array([rule.multiple], np.float64),
        "unity": np.array([1], np.float64),
        "of_height": np.array([0], np.int64),
        "of_width": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "no_margin": np.array([0, 0], np.int64),
        "channels": np.array([3], np.int64),
        "bgr_to_rgb": np.array([2, 1, 0], np.int64),
        "full": np.array(255, np.float32),
        "empty": np.array(0, np.float32),
        "mean": np.array(rule.mean, np.float32).reshape(1, 3, 1, 1),
        "std": np.array(rule.std, np.float32).reshape(1, 3, 1, 1),
    }


def _target(facts: OnnxFacts) -> tuple[tuple[int, int], str]:
    """The size aimed at and the fit, as DPTImageProcessor.network_size decides it."""
    rule = facts.rule
    if facts.fixed_hw is not None:
        return facts.fixed_hw, "exactly"
    if facts.use_square_sizing:
        return (facts.max_side_length or rule.side,) * 2, "stretch"
    if facts.max_side_length is not None:
        return (facts.max_side_length,) * 2, "upper_bound"
    return rule.target_hw, "stretch" if rule.fit == "fixed" else rule.fit


# How the factor for both sides, or for each of them, comes from target / side: see `fit_size`.
SCALES = {
    "lower_bound": "scale = ReduceMax (scales)",
    "upper_bound": "scale = ReduceMin (scales)",
    "stretch": "scale = Identity (scales)",
    "minimal": """
        difference = Sub (unity, scales)
        change = Abs (difference)
        change_h = Gather (change, of_height)
        change_w = Gather (change, of_width)
        scale_h = Gather (scales, of_height)
        scale_w = Gather (scales, of_width)
        width_changes_less = Less (change_w, change_h)
        scale = Where (width_changes_less, scale_w, scale_h)""",
}
# Sides that rounding to the nearest multiple took to the wrong side of the target.
CORRECTIONS = {
    "lower_bound": ("Less", "Ceil"),
    "upper_bound": ("Greater", "Floor"),
}


def _size_text(fit: str) -> str:
    """network_hw from picture_hw: `fit_size`, in float64 as there."""
    if fit == "exactly":
        return "network_hw = Cast <to = 7> (target)"
    if fit == "pad":
        return """
        exact_hw = Cast <to = 11> (picture_hw)
        counts = Div (exact_hw, multiple)
        whole_counts = Ceil (counts)
        sides = Mul (whole_counts, multiple)
        network_hw = Cast <to = 7> (sides)"""
    compare, correct = CORRECTIONS.get(fit, ("Less", "Round"))
    return f"""
        exact_hw = Cast <to = 11> (picture_hw)
        scales = Div (target, exact_hw)
        {SCALES[fit]}
        wanted = Mul (scale, exact_hw)
        counts = Div (wanted, multiple)
        near_counts = Round (counts)
        near_sides = Mul (near_counts, multiple)
        other_counts = {correct} (counts)
        other_sides = Mul (other_counts, multiple)
        is_wrong = {compare} (near_sides, target)
        right_sides = Where (is_wrong, other_sides, near_sides)
        sides = Max (right_sides, multiple)
        network_hw = Cast <to = 7> (sides)"""


def _resample_text(rule: PictureRule, fit: str) -> str:
    """The normalised network input from the picture's numbers (0 to 255, B x 3 x H0 x W0) and network_hw."""
    if fit == "pad":  # by the mean colour, which becomes 0
        return """
        unit = Div (numbers, full)
        centred = Sub (unit, mean)
        normalised = Div (centred, std)
        margins = Sub (network_hw, picture_hw)
        before = Div (margins, two)
        after = Sub (margins, before)
        pads = Concat <axis = 0> (no_margin, before, no_margin, after)
        prepared = Pad (normalised, pads, empty)"""
    return f"""
        unit = Div (numbers, full)
        resized = Resize <{RESIZE[rule.resample]}> (unit, {NOTHING}, {NOTHING}, sizes)
        centred = Sub (resized, mean)
        prepared = Div (centred, std)"""


def _prepare_text(facts: OnnxFacts) -> str:
    _, fit = _target(facts)
    return f"""
    prepare (uint8[batch, rows, columns, 3] picture) => (float[batch, 3, height, width] prepared, int64[2] picture_hw) {{
        picture_hw = Shape <start = 1, end = 3> (picture)
        count = Shape <start = 0, end = 1> (picture)
        {_size_text(fit)}
        sizes = Concat <axis = 0> (count, channels, network_hw)
        rgb = Gather <axis = 3> (picture, bgr_to_rgb)
        planes = Transpose <perm = [0, 3, 1, 2]> (rgb)
        numbers = Cast <to = 1> (planes)
        {_resample_text(facts.rule, fit)}
    }}"""


def _restore_text(rule: PictureRule) -> str:
    return f"""
    restore (float[batch, out_height, out_width] network_depth, int64[2] output_hw) => (float[batch, rows, columns] map) {{
        as_picture = Unsqueeze (network_depth, one)
        number = Shape <start = 0, end = 1> (network_depth)
        map_sizes = Concat <axis = 0> (number, one, output_hw)
        restored = Resize <{RESIZE[rule.restore]}> (as_picture, {NOTHING}, {NOTHING}, map_sizes)
        map = Squeeze (restored, one)
    }}"""
