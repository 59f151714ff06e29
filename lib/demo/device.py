"""Where a model runs and in which precision."""

from dataclasses import dataclass

import torch

from ..errors import UserError


@dataclass(frozen=True)
class Placement:
    """A device, a dtype, and in words why these."""

    device: torch.device
    dtype: torch.dtype
    reason: str

    def __str__(self) -> str:
        return f"Running on {self.device} in {str(self.dtype).removeprefix('torch.')} ({self.reason})"


def choose_placement(requested: str | None = None, *, use_float32: bool = False) -> Placement:
    """The requested device, or else the best there is: CUDA, then MPS, then the CPU.

    CUDA computes in bfloat16 where the hardware has it, everything else in float32. float16 is never chosen: its
    largest number is 65504, and the activations of these models are not bounded. Raises UserError for a device that is
    not there.
    """
    if requested is None:
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        device = torch.device(kind)
        reason = {"cuda": "a CUDA GPU is there", "mps": "an Apple GPU is there", "cpu": "no GPU found"}[kind]
    else:
        device, reason = check_device(requested), "-d says so"

    if use_float32:
        return Placement(device, torch.float32, f"{reason}, -f32 says float32")
    if device.type == "cuda":
        with torch.cuda.device(device):
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        if has_bfloat16:
            return Placement(device, torch.bfloat16, f"{reason}, and bfloat16 is faster there; -f32 for float32")
        return Placement(device, torch.float32, f"{reason}, but it has no bfloat16")
    if device.type == "mps":
        return Placement(device, torch.float32, f"{reason}; half precision would gain it little")
    return Placement(device, torch.float32, reason)


def check_device(requested: str) -> torch.device:
    """The device of this name, which is there. Raises UserError with one sentence otherwise."""
    try:
        device = torch.device(requested)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"-d {requested}: no such device; expected cpu, cuda, cuda:N or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            why = "no CUDA GPU was found" if torch.version.cuda else "this PyTorch was built without CUDA"
            raise UserError(f"-d {requested}: {why}; leave -d out or pass -d cpu")
        if (device.index or 0) >= count:
            raise UserError(f"-d {requested}: the GPUs here are {', '.join(f'cuda:{index}' for index in range(count))}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"-d {requested}: no Apple GPU is usable here; leave -d out or pass -d cpu")
    return device
