"""What a run leaves in its folder, besides TensorBoard's events:

config.json         every option of the run; can be passed to --config
curve.jsonl         a line for every logged step and every validation
best.safetensors    the model with the best validation, for make_dpt_from_state_dict
last.safetensors    the model at the last save, likewise
resume.pt           everything that the next step depends on
panels.png          pictures of the last validation: picture, truth, prediction
"""

import argparse
import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from lib.errors import UserError

STATE = "resume.pt"


class Records:
    """The folder of one run. Lines of the curve beyond `step` (of a run that was killed and is resumed) are dropped.

    options: what config.json is to say. step: the number of steps that have been made.
    """

    def __init__(self, folder: Path, options: dict, *, step: int, tensorboard: bool):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.json", json.dumps(options, indent=2).encode() + b"\n")
        kept = [line for line in read_curve(folder) if line["step"] <= step] if step else []
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_whole(folder / "curve.jsonl", text.encode())
        self._curve = open(folder / "curve.jsonl", "a", encoding="utf-8")
        self._board = open_tensorboard(folder, step) if tensorboard else None

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """One line of the curve, {"step": step, **numbers}, and the same to TensorBoard."""
        self._curve.write(json.dumps({"step": step, **numbers}) + "\n")
        self._curve.flush()
        if self._board:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)

    def show(self, step: int, panels: np.ndarray | None) -> None:
        """A picture, H x W x 3 uint8 BGR, to panels.png and TensorBoard."""
        if panels is not None:
            write_whole(self.folder / "panels.png", cv2.imencode(".png", panels)[1].tobytes())
            if self._board:
                self._board.add_image("picture, truth, prediction", panels[..., ::-1], step, dataformats="HWC")

    def close(self) -> None:
        self._curve.close()
        if self._board:
            self._board.close()


def open_tensorboard(folder: Path, step: int):
    """TensorBoard's writer; events beyond `step` that a killed run left are hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard is not installed: pip install -r experiments/requirements.txt, or pass --no-tensorboard"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def read_curve(folder: Path) -> list[dict]:
    """The lines of a curve.jsonl, as far as they are whole (a killed run may have left half a line), or []."""
    path = folder / "curve.jsonl"
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def write_whole(path: Path, content: bytes) -> None:
    """A file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def save_state(folder: Path, state: dict) -> None:
    """Tensors, numbers, strings, and lists and dictionaries of those; whole or not at all."""
    temporary = folder / f".{STATE}.{os.getpid()}.part"
    torch.save(state, temporary)
    os.replace(temporary, folder / STATE)


def load_state(folder: Path) -> dict | None:
    """What `save_state` wrote, on the CPU, or None. Nothing in it is executed. Raises UserError for a damaged file."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive can fail in any way inside the reader
        raise UserError(f"{path}: damaged, the run cannot go on from it ({type(error).__name__})") from error


# Options that may differ between a run and its continuation: they change where and how fast it runs, or what is
# written.
FREE_OPTIONS = frozenset(
    "output_folder resume config device threads workers render_device tensorboard save_every val_every val_count "
    "val_data log_every file_dtype batch_size accumulate".split()
)


def check_same_run(before: dict, now: dict) -> None:
    """Raises UserError if options that decide what is learned differ from those that the run was started with."""
    changed = sorted(
        name for name in before.keys() | now.keys() if name not in FREE_OPTIONS and before.get(name) != now.get(name)
    )
    if changed:
        differences = ", ".join(f"--{name} {now.get(name)} (was {before.get(name)})" for name in changed)
        raise UserError(f"--resume goes on with the options that the run was started with, but here are {differences}")


def options_of(args: argparse.Namespace) -> dict:
    """All options but those about this one call, for config.json and for `check_same_run`."""
    return {name: value for name, value in vars(args).items() if name not in ("config", "resume")}


class Clock:
    """Seconds that a run has taken, over all its continuations."""

    def __init__(self, before: float):
        self._start = time.monotonic() - before

    def seconds(self) -> float:
        return time.monotonic() - self._start
