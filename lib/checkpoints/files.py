"""Reading weight files without executing anything in them, and writing our own format.

A weight file may be .pth/.pt (a zip archive or the older plain form), .safetensors, or a Hugging Face folder. What it is
shows in its first bytes, not in its name.
"""

import json
import os
import pickle
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
PREFIXES = ("module.", "model.", "state_dict.", "_orig_mod.")


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
        return self.path.parent.name if self.path.name in FOLDER_FILES else self.path.name


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weight file or folder. Raises CheckpointError, naming the file, for anything that is not one.

    Wrapping ("state_dict", "model", a common "module." in front of every key) is taken off; half-precision numbers become
    float32; tensors that were saved from a GPU come to the CPU. Non-finite weights are refused.
    """
    path = Path(path)
    if path.is_dir():
        weight_files = _files_of_folder(path)
    elif path.is_file():
        weight_files = [path]
    else:
        raise CheckpointError(f"{path}: there is no such file; expected a weight file (.pth, .pt, .safetensors) or a folder")
    tensors, metadata = {}, {}
    for file in weight_files:
        more, file_metadata = _read_file(file)
        tensors |= more
        metadata |= file_metadata
    tensors = _strip_prefixes(_unwrap(tensors, path), path)
    for key in list(tensors):
        tensors[key] = _as_float32(key, tensors[key], path)

    checkpoint = Checkpoint(path=path, tensors=tensors)
    if OWN_CONFIG_KEY in metadata:
        checkpoint.own_config = _parse_json(metadata[OWN_CONFIG_KEY], f"{path}: the config in its metadata")
    elif path.is_dir() or path.name in FOLDER_FILES:
        folder = path if path.is_dir() else path.parent
        checkpoint.config = _read_json(folder / "config.json")
        checkpoint.preprocessor = _read_json(folder / "preprocessor_config.json")
    else:
        checkpoint.config = _read_json(path.with_suffix(".json"))
    return checkpoint


def save_dpt(path: str | Path, config: dict, model: nn.Module) -> None:
    """Write a model to one .safetensors file that carries its config, for `make_dpt_from_state_dict` to load again.

    config: as `make_dpt_from_state_dict` returns it. The file appears whole or not at all: it is written under a temporary
    name in the same folder and then moved into place.
    """
    path = Path(path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, temporary, metadata={OWN_CONFIG_KEY: json.dumps(config), "format": "pt"})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _files_of_folder(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set((_read_json(index) or {}).get("weight_map", {}).values()))
        files = [folder / Path(name).name for name in names]
        missing = [file.name for file in files if not file.is_file()]
        if missing or not files:
            raise CheckpointError(f"{folder}: {index.name} names {', '.join(missing) or 'no files'}, not found there")
        return files
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return [folder / name]
    raise CheckpointError(f"{folder}: this folder has neither model.safetensors nor pytorch_model.bin")


def _read_file(file: Path) -> tuple[dict, dict]:
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


def _read_torch(file: Path) -> dict:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported" in str(error):  # PyTorch's words for anything but tensors and plain containers
            raise CheckpointError(
                f"{file}: holds Python objects other than tensors, which could run code when opened, so it was not opened"
            ) from None
        raise CheckpointError(f"{file}: damaged, or not a PyTorch weight file") from None
    except Exception as error:  # a damaged archive can fail in any way inside the reader
        raise CheckpointError(f"{file}: damaged, cut short, or not a PyTorch weight file ({type(error).__name__})") from error


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """Take off {"model": {...}} and the like."""
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
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


def _strip_prefixes(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Take off "module." and the like, where it stands in front of every key."""
    while True:
        common = [prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in tensors)]
        if not common:
            return tensors
        tensors = {key.removeprefix(common[0]): tensor for key, tensor in tensors.items()}


def _as_float32(key: str, tensor: Tensor, path: Path) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise CheckpointError(f"{path}: {key} is a sparse, quantised or complex tensor; expected plain numbers")
    if not tensor.is_floating_point():
        return tensor.detach()
    tensor = tensor.detach().float()
    # One pass without a temporary: any NaN or infinity makes the sum non-finite. A sum that only overflowed does not.
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
        raise CheckpointError(f"{path}: {key} holds NaN or infinity; the file is damaged or its training diverged")
    return tensor


def _read_json(file: Path) -> dict | None:
    """A JSON object, or None where there is no such file."""
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error
    return _parse_json(text, str(file))


def _parse_json(text: str, what: str) -> dict:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{what} is not valid JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{what} should be a JSON object")
    return parsed
