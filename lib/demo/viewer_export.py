"""Files of a 3D scene, from the command line and from the page: meshes, points, depth, drawings, turntable videos."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import PictureError, UserError
from .mesh_files import MESH_FORMATS
from .save import add_png_text, atomic_file, encode_png, make_folder, plan_targets, to_16bit
from .viewer_render import draw_screenshot, draw_turntable
from .viewer_scene import Settings, Shot, file_of, metres_of

EXPORT_FORMATS = (*MESH_FORMATS, "png", "npy")
TURNTABLE_SECONDS, TURNTABLE_RATE = 5, 24


def export_bytes(shot: Shot, settings: Settings, file_format: str) -> bytes:
    """One of EXPORT_FORMATS. png: depth in metres in 16 bits, with scale and offset in its text; npy: in float32.

    Raises PictureError where nothing of the picture is left.
    """
    if file_format in MESH_FORMATS:
        try:
            return file_of(shot, settings, file_format)
        except ValueError as error:
            raise PictureError(f"{shot.name}: {error}") from error
    metres = metres_of(shot, settings)
    if file_format == "npy":
        buffer = io.BytesIO()
        np.save(buffer, metres)
        return buffer.getvalue()
    return depth16_bytes(metres)


def depth16_bytes(metres: np.ndarray) -> bytes:
    """Metres as a 16-bit PNG: metres = code * scale + offset, and code 0 where nothing is known. Both in the PNG's text."""
    known = np.isfinite(metres)
    low, high = (float(metres[known].min()), float(metres[known].max())) if known.any() else (0.0, 0.0)
    codes, scale, offset = to_16bit(metres, low - (high - low or 1) / 65534, high)  # so that nothing known has code 0
    text = {
        "quantity": "metres",
        "nearest_is_largest": False,
        "scale": scale,
        "offset": offset,
        "formula": "metres = code * scale + offset; code 0: unknown",
    }
    return add_png_text(encode_png(codes, Path("depth.png")), text)


def write_turntable(path: Path, shot: Shot, settings: Settings, *, shows_progress: bool = False) -> None:
    """A video that swings around the scene and comes back. Raises UserError where it cannot be written."""
    from tqdm import tqdm

    from .video_writer import VideoWriter

    total = TURNTABLE_SECONDS * TURNTABLE_RATE
    with VideoWriter(path, frame_rate=TURNTABLE_RATE) as video:
        frames = draw_turntable(shot, settings, frames=total)
        for frame in tqdm(frames, total=total, unit="frame", leave=False, disable=not shows_progress):
            video.write(frame)


def export_targets(output: str, relatives: Sequence[Path]) -> list[Path]:
    """Where each picture's file goes: the one picture's into `output`, several into a folder of that name.

    >>> [path.as_posix() for path in export_targets("rooms.glb", [Path("a.jpg"), Path("sub/b.png")])]
    ['rooms/a.glb', 'rooms/sub/b.glb']
    """
    path = Path(output).expanduser()
    if len(relatives) == 1:
        return [path]
    return [target.with_name(target.name + path.suffix) for target in plan_targets(relatives, path.with_suffix(""))]


def check_outputs(outputs: Sequence[str], formats: Sequence[str], option: str) -> None:
    """Raises UserError for an output whose ending is none of these."""
    for output in outputs:
        if Path(output).suffix.lower().removeprefix(".") not in formats:
            endings = ", ".join(f".{name}" for name in formats)
            raise UserError(f"{option} {output}: expected a file name that ends in {endings}")


def check_targets(targets: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raises UserError where a result would overwrite one of the inputs, or another result."""
    written = set()
    taken = {os.path.realpath(path) for path in inputs}
    for path in targets:
        name = os.path.realpath(path)
        if name in taken:
            raise UserError(f"{path}: this is the input, which would be overwritten; choose another name")
        if name in written:
            raise UserError(f"{path}: two results would have this name; choose another one for one of them")
        written.add(name)


def write_exports(shot: Shot, settings: Settings, targets: dict[str, Sequence[Path]], report: Callable[[Path], None]) -> None:
    """Write everything that is asked for of one picture. targets: paths by "export", "screenshot" and "turntable"."""
    for path in targets.get("export", ()):
        data = export_bytes(shot, settings, path.suffix.lower()[1:])
        make_folder(path.parent)
        with atomic_file(path) as file:
            file.write(data)
        report(path)
    for path in targets.get("screenshot", ()):
        drawing = draw_screenshot(shot, settings)
        make_folder(path.parent)
        with atomic_file(path) as file:
            file.write(encode_png(drawing, path))
        report(path)
    for path in targets.get("turntable", ()):
        make_folder(path.parent)
        write_turntable(path, shot, settings, shows_progress=True)
        report(path)
