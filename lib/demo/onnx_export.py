"""Networks as ONNX files that know what they are: any batch, any picture size that the network takes, one file.

Shapes: B batch, H W network input, h w patch grid, s side of a position table, C features.
"""

import copy
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ..dpt_model import DPTModel
from ..encoders.vit import ViTEncoder
from ..errors import UserError
from ..image_processor import PictureRule
from .onnx_metadata import OnnxFacts

OPSET = 18
LARGEST_PROTOBUF = 1_900_000_000  # bytes; a single ONNX file may have 2 GB, larger weights go into a second file
CUBIC = -0.75  # the free parameter of PyTorch's bicubic interpolation


class ExportablePositions(nn.Module):
    """Stands in for the position cache of a ViTEncoder, and gives what `resize_position_table` gives.

    F.interpolate cannot be exported for a size that is still open when its scale has DINOv2's offset: the scale would become
    a constant. Resizing a table is linear in each direction, so it is two products with matrices, h x s and w x s, that the
    graph computes from the size.
    """

    def forward(self, compute, *, weights: list[Tensor], key: tuple) -> Tensor:
        """As `WeightCache`, for `ViTEncoder.positions`: 1 x (1 + N) x C."""
        (table,), (grid_hw, mode, offset) = weights, key
        side = round((table.shape[1] - 1) ** 0.5)
        exact = [torch.zeros(()) + count for count in grid_hw]  # numbers of the graph, where the size is open
        is_kept = [number == side for number in exact]
        if mode == "bicubic":  # only a grid of the table's own size is never resampled; "bilinear" decides for each side
            is_kept = [is_kept[0] & is_kept[1]] * 2
        for_rows, for_columns = (
            resize_matrix(side, count, side / (number + torch.where(kept, 0.0, offset)), mode)
            for count, number, kept in zip(grid_hw, exact, is_kept, strict=True)
        )
        picture = table[0, 1:].float().unflatten(0, (side, side))  # 1 1+N C -> s s C
        picture = (for_rows @ picture.flatten(1)).unflatten(1, (side, -1))  # s s C -> h s C
        picture = for_columns @ picture  # h s C -> h w C
        return torch.cat([table[:, :1], picture.flatten(0, 1)[None].to(table.dtype)], dim=1)


def resize_matrix(old: int, new: int, step: Tensor, mode: str) -> Tensor:
    """The matrix (new x old) by which F.interpolate takes `old` numbers to `new` ones that lie `step` apart.

    step may differ from old / new (see `resize_position_table`). mode: "bicubic" or "bilinear".
    """
    place = (torch.arange(new) + 0.5) * step - 0.5  # new
    taps = place.floor()[:, None] + torch.arange(-1, 3)  # new -> new 4
    distance = (place[:, None] - taps).abs()
    if mode == "bicubic":
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
        weights = torch.where(distance <= 1, near, far)
    else:
        weights = (1 - distance).clamp(min=0)
    at_border = taps.clamp(0, old - 1)  # beyond the border, the outermost number goes on
    return (weights[..., None] * (at_border[..., None] == torch.arange(old))).sum(1)  # new 4 old -> new old


class Float16Network(nn.Module):
    """A network that computes in float16 and is fed and read in float32."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.half()

    def forward(self, image: Tensor) -> Tensor:
        """B x 3 x H x W float32 -> B x H x W float32."""
        return self.network(image.half()).float()


def picture_multiple(dpt_model: DPTModel) -> int | None:
    """Both sides of the network's input are multiples of this; None for a network that takes one size only (LeViT)."""
    if hasattr(dpt_model.patch_embed, "image_size"):
        return None
    return dpt_model.patch_embed.patch_size * getattr(dpt_model.imgencoder, "grid_multiple", 1)


def exportable(dpt_model: DPTModel) -> DPTModel:
    """A copy that shares the weights and that exporters understand: nothing remembered, plain formulas, open sizes."""
    tensors = [*dpt_model.parameters(), *dpt_model.buffers()]
    network = copy.deepcopy(dpt_model, {id(tensor): tensor for tensor in tensors}).eval()
    network.set_cache(False)
    network.set_fused_attention(False)  # engines recognise the plain formula, and fuse it in their own way
    for module in network.modules():
        if isinstance(module, ViTEncoder):
            module.position_cache = ExportablePositions()
    return network


def facts_of(dpt_model: DPTModel, config: dict, rule: PictureRule, **more) -> OnnxFacts:
    """What a file made from this model should say. more: the other fields of OnnxFacts, "weights" and "summary" at least."""
    output = asdict(dpt_model.output)
    output["value_range"] = [bound if math.isfinite(bound) else None for bound in output["value_range"]]  # JSON has no infinity
    multiple = picture_multiple(dpt_model)
    if multiple is None:
        more["fixed_hw"] = (dpt_model.patch_embed.image_size,) * 2
    name = config.get("release") or config.get("model_type") or Path(more["weights"]).stem
    picture = asdict(rule) | {"mean": list(rule.mean), "std": list(rule.std)}  # as JSON gives it back
    return OnnxFacts(name=name, output=output, picture=picture, multiple=multiple, **more)


def export_network(dpt_model: DPTModel, path: Path, facts: OnnxFacts) -> Path:
    """Write an ONNX file: B x 3 x H x W normalised picture -> B x H x W depth. The batch is always open.

    facts.fixed_hw: the only input size; None for every size that the network takes. facts.precision "float16" makes a float16
    network, the others a float32 one. Weights beyond 2 GB go into a second file beside it, PATH.data. Returns `path`.
    Raises UserError for a size that the network does not take, and where a package is missing.
    """
    require("onnx", "onnxscript")
    multiple, fixed_hw = facts.multiple, facts.fixed_hw
    height, width = fixed_hw or (12 * multiple, 10 * multiple)
    network = exportable(dpt_model)
    if facts.precision == "float16":
        network = Float16Network(copy.deepcopy(network))
    axes = {0: torch.export.Dim("batch", min=1, max=4096)}
    if fixed_hw is None:
        for axis, name in ((2, "rows"), (3, "columns")):
            axes[axis] = multiple * torch.export.Dim(name, min=2, max=4096)
    image = torch.zeros(2, 3, height, width)
    with _quiet(), torch.no_grad():
        try:
            exported = torch.export.export(network, (image,), dynamic_shapes=(axes,))
        except ValueError as error:  # the network's own check of the size
            raise UserError(f"no network input of {width} x {height} pixels: {error}") from error
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["depth"],
            custom_translation_table={torch.ops.aten.roll.default: _roll},
            verbose=False,
        )
    _name_axes(program.model.graph, fixed_hw or ("height", "width"))
    program.model.metadata_props.update(facts.as_metadata())
    num_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    with replacing(path) as unfinished:
        program.save(unfinished, external_data=num_bytes > LARGEST_PROTOBUF)
    return path


def require(*packages: str) -> None:
    """Raises UserError, with the command that installs it, for the first of these packages that is not there."""
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise UserError(f"this needs the package {package}, which is not installed: pip install {package}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path in a new folder beside `path`; what is written there, further files included, is moved into place at the end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
            yield Path(folder) / path.name
            written = sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name)  # what others refer to, first
            for file in written:
                os.replace(file, path.with_name(file.name))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _roll(picture, shifts, dims=()):
    """torch.roll for shifts that are known only when the graph runs, which the exporter's own translation cannot do."""
    from onnxscript import opset18 as op

    for shift, axis in zip(shifts, dims, strict=True):
        shift = op.Constant(value_ints=[shift]) if isinstance(shift, int) else op.Reshape(shift, [1])
        length = op.Shape(picture, start=axis, end=axis + 1)
        cut = op.Mod(op.Sub(length, shift), length)
        end, start = op.Slice(picture, cut, length, [axis]), op.Slice(picture, [0], cut, [axis])
        picture = op.Concat(end, start, axis=axis)
    return picture


def _name_axes(graph, sides: tuple) -> None:
    """Readable names for the open axes, and no guesses about the shapes in between, where the old names stand."""
    import onnx_ir

    for node in graph:
        for value in node.outputs:
            value.shape = None
    graph.inputs[0].shape = onnx_ir.Shape(["batch", 3, *sides])
    graph.outputs[0].shape = onnx_ir.Shape(["batch", *(sides if isinstance(sides[0], int) else ("out_height", "out_width"))])


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporters speak to developers; what matters comes as an exception."""
    import logging

    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
