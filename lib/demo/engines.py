"""Networks run by ONNX Runtime or OpenVINO instead of PyTorch, from ONNX files of ours: given, or exported once and kept."""

import argparse
import functools
import hashlib
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError, one_line
from ..image_processor import DPTImageProcessor, PictureRule
from ..make_dpt import make_dpt_from_state_dict, summary
from .onnx_metadata import OnnxFacts, read_facts
from .onnx_picture import FixedSizeProcessor, WholePictureProcessor
from .options import ENGINES

CACHE_VARIABLE = "PLAIN_DPT_CACHE"
INSTALL = "pip install -r experiments/requirements.txt"
MOST_COMPILED = 2  # sizes that OpenVINO keeps ready; each has its own copy of the weights, and of BEiT's biases
# What a DPTModel has and scripts that look inside ask for first.
PARTS = ("patch_embed", "imgencoder", "reassemble", "fusion", "head", "modules", "named_modules", "state_dict", "set_cache")
PIECE = 1 << 24  # bytes read at a time
LIBRARY = Path(__file__).resolve().parents[1]


class EngineModel:
    """A network in an ONNX file, on the CPU: what `predict_depth` needs of a DPTModel.

    engine: of ENGINES. dtype: "float32", or with OpenVINO "bfloat16". num_threads: as PyTorch's by default. Raises UserError
    where the engine is not installed or cannot run the file.
    """

    def __init__(self, path: Path, *, engine: str, dtype: str = "float32", num_threads: int | None = None):
        if (engine, dtype) == ("onnxruntime", "bfloat16"):
            raise UserError("onnxruntime computes in float32 on CPUs: pass --engine openvino for bfloat16")
        self.facts = read_facts(path)
        self.output = self.facts.output_kind
        run_class = {"onnxruntime": OnnxRuntimeNetwork, "openvino": OpenVinoNetwork}[engine]
        try:
            self.network = run_class(path, dtype=dtype, num_threads=num_threads or torch.get_num_threads())
        except ImportError as error:
            raise not_installed(engine) from error
        except Exception as error:
            raise UserError(f"{path}: {engine} cannot run this file ({error})") from error
        self.title = f"{self.network.title} on the CPU in {dtype}"

    def inference(self, image: Tensor) -> Tensor:
        """B x 3 x H x W normalised pictures -> B x H x W float32 depth; of a file that takes pictures, see OnnxFacts.

        Raises ValueError for sizes that the network does not take.
        """
        facts, sides = self.facts, tuple(image.shape[-2:])
        if not facts.takes_pictures and facts.fixed_hw is not None and sides != facts.fixed_hw:
            raise ValueError(f"the picture tensor is {sides}, but this file takes {facts.fixed_hw} only")
        if not facts.takes_pictures and facts.fixed_hw is None and any(side % facts.multiple for side in sides):
            raise ValueError(f"the picture tensor is {sides}, but both sides must be multiples of {facts.multiple}")
        image = image.detach().cpu().to(torch.uint8 if facts.takes_pictures else torch.float32)
        return torch.from_numpy(self.network(np.ascontiguousarray(image.numpy())))

    def __getattr__(self, name: str):
        """Scripts that look inside a network learn in one sentence that they cannot."""
        if name in PARTS:
            raise UserError("an engine runs the network in one piece: to look inside, pass the weights without --engine")
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def parameters(self) -> Iterator[Tensor]:
        """Callers read a model's device and dtype from its weights: the CPU, float32."""
        yield torch.zeros(0)


class OnnxRuntimeNetwork:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: Path, *, dtype: str, num_threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 4  # what goes wrong comes as an exception
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.title = f"ONNX Runtime {onnxruntime.__version__}"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input_name: image})[0]


@functools.cache
def openvino_core():
    """OpenVINO itself, the same for all networks, and never freed.

    It gives the thread that loads it another stack to handle signals on. When the last network went in another thread, OpenVINO
    was unloaded and that memory returned, with the first thread still pointing there: the next signal (a child process that
    ended, say) crashed Python.
    """
    import openvino

    return openvino.Core()


class OpenVinoNetwork:
    """An ONNX file in OpenVINO, compiled for each size of the input; the last few are kept."""

    def __init__(self, path: Path, *, dtype: str, num_threads: int):
        import openvino

        self.core = openvino_core()
        self.model = self.core.read_model(str(path))
        precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        self.settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": num_threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.compiled = {}  # shape of the input: network, the one used longest ago first
        self.title = f"OpenVINO {openvino.__version__.partition('-')[0]}"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        network = self.compiled.pop(image.shape, None)
        if network is None:
            model = self.model.clone()
            model.reshape(list(image.shape))
            network = self.core.compile_model(model, "CPU", self.settings).create_infer_request()
        self.compiled[image.shape] = network
        while len(self.compiled) > MOST_COMPILED:
            del self.compiled[next(iter(self.compiled))]
        return np.array(network.infer({0: image})[0])  # a copy: the engine writes into the same memory next time


def load_engine(path: Path, args: argparse.Namespace) -> tuple[EngineModel, DPTImageProcessor, str]:
    """The network that the options ask for, from an ONNX file or by way of one, what prepares its pictures, and its name.

    Raises UserError with one sentence.
    """
    if args.domain is not None or args.metric_range is not None:
        raise UserError("--domain and --metric_range change the network itself, which engines cannot: leave --engine out")
    if args.device not in (None, "cpu"):
        raise UserError(f"-d {args.device}: engines run on the CPU here; leave -d out, or leave --engine out")
    engine = args.engine or default_engine()
    if find_spec(engine) is None:  # before minutes of exporting
        raise not_installed(engine)
    if path.suffix.lower() != ".onnx":
        path = exported_once(path, model_type=args.model_type)
    elif args.model_type is not None:
        raise UserError(f"{path}: an ONNX file says itself what it is; leave --model_type out")
    model = EngineModel(path, engine=engine, dtype=args.engine_dtype)
    print(one_line(f"{path.name}: {model.facts.summary}"))
    print(f"Running by {model.title}")
    rule = model.facts.rule.without(padding=args.no_pad, flip=args.no_flip)
    return model, processor_of(model.facts, rule), model.facts.name


def processor_of(facts: OnnxFacts, rule: PictureRule) -> DPTImageProcessor:
    """What prepares pictures for such a file. rule: the file's own, or a variant of it."""
    if facts.takes_pictures:
        return WholePictureProcessor(rule)
    return FixedSizeProcessor(rule, facts.fixed_hw) if facts.fixed_hw else DPTImageProcessor(rule)


def not_installed(engine: str) -> UserError:
    """The error for an engine that is not there."""
    return UserError(f"the engine {engine} is not installed: {INSTALL}")


def default_engine() -> str:
    """The first of ENGINES that is installed."""
    for engine in ENGINES:
        if find_spec(engine) is not None:
            return engine
    raise UserError(f"ONNX files need {' or '.join(ENGINES)}, and neither is installed: {INSTALL}")


def exported_once(weights: Path, *, model_type: str | None = None) -> Path:
    """The ONNX file of these weights in the cache folder, for every size; exported now if it is not there yet.

    Its name holds a hash of the weights, of their name and type (which decide what they mean), of our code and of PyTorch's
    version: where any of them changes, it is exported anew.
    """
    folder = engine_cache_folder()
    target = folder / f"{weights.stem}-{fingerprint(weights, model_type)}.onnx"
    if target.exists():
        try:
            read_facts(target)
            return target
        except UserError:
            pass  # damaged: exported anew
    from .onnx_export import export_network, facts_of

    config, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights, model_type=model_type)
    print(f"Exporting it for the engine, once, to {target} (minutes for large models) ...", file=sys.stderr)
    facts = facts_of(dpt_model, config, dpt_imgproc.rule, weights=weights.name, summary=summary(config))
    return export_network(dpt_model, target, facts)


def engine_cache_folder() -> Path:
    """Where exported networks are kept: $PLAIN_DPT_CACHE, or a folder in the user's cache directory."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "plain_dpt"


def fingerprint(weights: Path, model_type: str | None) -> str:
    """A hash of everything that the exported network depends on, see `exported_once`."""
    files = sorted(weights.iterdir()) if weights.is_dir() else [weights, weights.with_suffix(".json")]
    code = [file for file in sorted(LIBRARY.rglob("*.py")) if "demo" not in file.parts or file.name.startswith("onnx")]
    digest = hashlib.sha256(f"{weights.name}|{model_type}|{torch.__version__}".encode(errors="surrogateescape"))
    try:
        for file in filter(Path.is_file, [*files, *code]):
            digest.update(f"|{file.name}|{file.stat().st_size}|".encode(errors="surrogateescape"))
            with open(file, "rb") as opened:
                while piece := opened.read(PIECE):
                    digest.update(piece)
    except OSError as error:
        raise UserError(f"{weights}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()[:20]
