"""Reading weight files without executing anything in them, and writing our own format.

A weight file may be .pth/.pt (a zip archive or the older plain form), .safetensors, or a Hugging Face folder. What it is
shows in its first bytes, not in its name.
"""

import json
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import CheckpointError

OWN_CONFIG_KEY = "plain_dpt_config"  # in the metadata of our own safetensors files
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # what Hugging Face folders call their weights
WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
DEEPEST_WRAPPING = 8
PREFIXES = ("module.", "model.", "state_dict.", "_orig_mod.")
# PyTorch's words for anything but tensors and plain containers ("Unsupported operand", in contrast, is garbage)
FORBIDDEN_OBJECT = re.compile("unsupported (global|class)|not an allowed global", re.IGNORECASE)


@dataclass
class Checkpoint:
    """What a file holds: float32 tensors under the release's keys, and whichever config came with them.

    config: of a Hugging Face folder, or of a STEM.json beside the weights. own_config: of our own format.
    preprocessor: a Hugging Face folder's preprocessor_config.json.
    """

    path: Path
    tensors: dict[str, Tensor]
    config: dict | None = None
    own_config: dict | None = None
    preprocessor: dict | None = None

    @property
    def name(self) -> str:
        """What to call it in messages and to look for in the table of published names: the file's or folder's name."""
        path = self.path.absolute()  # "." and "model.safetensors" have no folder name of their own
        return path.parent.name if path.name in FOLDER_FILES else path.name


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weight file or folder. Raises CheckpointError, naming the file, for anything that is not one.

    Wrapping ("state_dict", "model", a common "module." in front of every key) is taken off; half-precision numbers become
    float32; tensors that were saved from a GPU come to the CPU. Non-finite weights are refused.
    """
    path = Path(path)
    if os.path.isdir(path):  # unlike path.is_dir(), never raises, whatever the path is
        weight_files = _files_of_folder(path)
    elif os.path.isfile(path):
        weight_files = [path]
    else:
        raise CheckpointError(f"{path}: there is no such file; expected a weight file (.pth, .pt, .safetensors) or a folder")
    tensors, metadata = {}, {}
    for file in weight_files:
        content, file_metadata = _read_file(file)
        tensors |= _unwrap(content, file)
        metadata |= file_metadata
        del content  # else a half-precision file would be held beside its float32 copy
    tensors = _strip_prefixes(tensors)
    for key in list(tensors):
        tensors[key] = _as_float32(key, tensors[key], path)

    checkpoint = Checkpoint(path=path, tensors=tensors)
    if OWN_CONFIG_KEY in metadata:
        checkpoint.own_config = _parse_json(metadata[OWN_CONFIG_KEY], f"{path}: the config in its metadata")
    elif os.path.isdir(path) or path.name in FOLDER_FILES:
        folder = path if os.path.isdir(path) else path.parent
        checkpoint.config = _read_json(folder / "config.json")
        checkpoint.preprocessor = _read_json(folder / "preprocessor_config.json")
    else:
        checkpoint.config = _read_json(path.with_suffix(".json"))
    return checkpoint


def save_dpt(path: str | Path, config: dict, model: nn.Module) -> None:
    """Write a model to one .safetensors file that carries its config, for `make_dpt_from_state_dict` to load again.

    config: as `make_dpt_from_state_dict` returns it. The file appears whole or not at all: it is written under a temporary
    name in the same folder and then moved into place. Raises CheckpointError where it cannot be written.
    """
    path = Path(path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, temporary, metadata={OWN_CONFIG_KEY: json.dumps(config, allow_nan=False), "format": "pt"})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _files_of_folder(folder: Path) -> list[Path]:
    for index in (folder / f"{name}.index.json" for name in FOLDER_FILES):
        if not os.path.isfile(index):
            continue
        weight_map = (_read_json(index) or {}).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{index}: expected a weight_map that names a file for every key")
        files = [folder / Path(name).name for name in sorted(set(weight_map.values()))]
        missing = [file.name for file in files if not os.path.isfile(file)]
        if missing or not files:
            raise CheckpointError(f"{folder}: {index.name} names {', '.join(missing) or 'no files'}, not found there")
        return files
    for name in FOLDER_FILES:
        if os.path.isfile(folder / name):
            return [folder / name]
    raise CheckpointError(f"{folder}: this folder has neither model.safetensors nor pytorch_model.bin")


def _read_file(file: Path) -> tuple[object, dict]:
    """The content of one file, and its metadata (safetensors alone have some)."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    if not head:
        raise CheckpointError(f"{file}: the file is empty")
    if head[8:9] == b"{" and not head.startswith(b"PK"):  # eight bytes of length, then a JSON header
        return _read_safetensors(file)
    return _read_torch(file), {}


def _read_safetensors(file: Path) -> tuple[dict, dict]:
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: damaged or cut short, or not a safetensors file ({error})") from error


def _read_torch(file: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, about odd files; what is wrong is said below
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if FORBIDDEN_OBJECT.search(str(error)):
            raise CheckpointError(
                f"{file}: holds Python objects other than tensors, which could run code when opened, so it was not opened"
            ) from None
        raise CheckpointError(f"{file}: damaged, or not a PyTorch weight file") from None
    except Exception as error:  # a damaged archive can fail in any way inside the reader
        if "TorchScript" in str(error):
            raise CheckpointError(f"{file}: a TorchScript program, not a weight file; save its state_dict()") from None
        kind = type(error).__name__
        raise CheckpointError(f"{file}: damaged, cut short, or not a PyTorch weight file ({kind})") from error


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """Take off {"model": {...}} and the like, with whatever a training run saved beside (optimizer, epoch, ...)."""
    for _ in range(DEEPEST_WRAPPING):  # a dictionary may even contain itself
        if not isinstance(content, Mapping):
            break
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds no weights: expected a dictionary of tensors (a state dict)")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {key!r} is {type(value).__name__}; expected a dictionary of tensors")
    return dict(content)


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off "module." and the like, where it stands in front of every key."""
    while True:
        common = [prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in tensors)]
        if not common:
            return tensors
        tensors = {key.removeprefix(common[0]): tensor for key, tensor in tensors.items()}


def _as_float32(key: str, tensor: Tensor, path: Path) -> Tensor:
    is_plain = tensor.layout == torch.strided and not tensor.is_nested and tensor.device.type == "cpu"
    if not is_plain or tensor.is_quantized or tensor.is_complex():
        raise CheckpointError(f"{path}: {key} is sparse, nested, quantised, complex or without data; expected numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        # An expanded view: a file of a few bytes could claim any number of weights, and training could not change them.
        raise CheckpointError(f"{path}: {key} claims {tensor.numel()} numbers, but the file stores fewer")
    if not tensor.is_floating_point():
        return tensor.detach()
    tensor = tensor.detach().float().contiguous()  # another memory layout would round differently
    # One pass without a temporary: any NaN or infinity makes the sum non-finite. A sum that only overflowed does not.
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
        raise CheckpointError(f"{path}: {key} holds NaN or infinity; the file is damaged or its training diverged")
    return tensor


def _read_json(file: Path) -> dict | None:
    """A JSON object, or None where there is no such file."""
    if not os.path.isfile(file):
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error
    return _parse_json(text, str(file))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _parse_json(text: str, what: str) -> dict:
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{what} should be a JSON object")
    return parsed
