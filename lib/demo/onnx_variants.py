"""Smaller variants of an exported network, and files with the pictures' preparation built in."""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

from ..dpt_model import DPTModel
from ..errors import UserError
from .onnx_export import LARGEST_PROTOBUF, export_network, replacing, require
from .onnx_metadata import OnnxFacts
from .onnx_picture import with_pictures


def export_variant(dpt_model: DPTModel, path: Path, facts: OnnxFacts) -> Path:
    """Write the ONNX file that the facts describe: its precision, its sizes, with or without pictures. Returns `path`.

    Precision int8: the weights of linear layers and attention's products in 8 bits, the activations with a scale that is
    computed for each input ("dynamic quantisation"); convolutions stay as they are. Raises UserError with one sentence.
    """
    require("onnx")
    if facts.precision != "int8" and not facts.takes_pictures:
        return export_network(dpt_model, path, facts)
    import onnx

    num_bytes = sum(tensor.nbytes for tensor in dpt_model.state_dict().values())
    if num_bytes > LARGEST_PROTOBUF:
        raise UserError(f"{path}: a network of {num_bytes / 1e9:.1f} GB can only be exported in float32, without pictures")
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.onnx"
        export_network(dpt_model, network, replace(facts, takes_pictures=False))
        if facts.precision == "int8":
            quantise(network)
        whole = onnx.load(network)
    if facts.takes_pictures:
        whole = with_pictures(whole, facts)
    del whole.metadata_props[:]
    onnx.helper.set_model_props(whole, facts.as_metadata())
    with replacing(path) as unfinished:
        onnx.save(whole, unfinished)
    return path


def quantise(path: Path) -> None:
    """Replace a float32 network by its int8 variant."""
    require("onnxruntime")
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().addFilter(_is_serious)  # it advises to run another program first, which fails on open sizes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kinds = ["MatMul", "Gemm"]
            quantize_dynamic(path, path, op_types_to_quantize=kinds, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.getLogger().removeFilter(_is_serious)


def _is_serious(record) -> bool:
    return record.levelno >= 40  # errors
