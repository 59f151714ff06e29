"""Which weights a script should use: what -m means, and what to take when it is not given.

Only looks and asks; `download` fetches what is not on disk. Opening the file is left to `make_dpt_from_state_dict`.
"""

import difflib
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:  # the table needs torch, which --help should not wait for
    from ..releases import Release

MODEL_WEIGHTS = Path(__file__).resolve().parents[2] / "model_weights"
WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt")
BUILTIN_PREFIX = "builtin_"  # files that come with the checkout; everything else in the folder is the user's
BUILTIN_MODEL = "builtin_tiny.safetensors"
SUGGESTED_RELEASE = "depth-anything-v2-small"

# "owner/name" as Hugging Face allows it: neither part begins or ends with a dot or dash, no "--" or "..".
_PART = r"(?:[A-Za-z0-9_]|[-.](?![-.]))*[A-Za-z0-9_]"
REPOSITORY_ID = re.compile(rf"(?![-.]){_PART}/(?![-.]){_PART}")


def find_weights(
    model_argument: str | None, *, folder: str | Path = MODEL_WEIGHTS, interactive: bool | None = None
) -> Path:
    """The weight file, or Hugging Face folder, that the user means; downloaded into `folder` if need be.

    model_argument: what -m was given. In this order: the path of a file or Hugging Face folder; the whole name of
        something in `folder` (with or without its suffix); a published name (a key of RELEASES, or its file name); a
        Hugging Face repository id "owner/name"; part of a name in `folder`. In names, "-" equals "_" and upper case
        equals lower case. None: what the user put into `folder`, else the model that comes with the checkout.
    interactive: whether a numbered menu may be shown where several fit. By default, when a person sits at a terminal.

    Raises UserError with one sentence that says what to do.
    """
    folder = Path(folder)
    if interactive is None:
        interactive = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    if model_argument is None:
        return _default_weights(folder, interactive)
    if not model_argument.strip():
        raise UserError("-m was given an empty name; leave it out, or name a file or a model")

    path = Path(os.path.expanduser(model_argument))
    if is_weights(path):
        return path
    on_disk = weights_in(folder)
    whole = _called(model_argument, on_disk)
    if whole:
        return _choose(whole, f"{model_argument!r} is the name of several", interactive)
    release = _release_called(model_argument)
    if release is not None:
        return _release_weights(release, folder, on_disk)
    if _is_repository_id(model_argument):
        return _repository_weights(model_argument, folder, on_disk)
    partial = [entry for entry in on_disk if _plain(model_argument) in _plain(entry.name)]
    if partial:
        return _choose(partial, f"{model_argument!r} is part of several names", interactive)
    if "/" in model_argument or os.sep in model_argument or os.path.isdir(path):
        raise UserError(_no_such_path(path))
    raise UserError(_unknown_name(model_argument, folder, on_disk))


def weights_in(folder: Path) -> list[Path]:
    """Weight files and Hugging Face folders that lie directly in `folder`, sorted by name; hidden ones do not count."""
    if not folder.is_dir():
        return []
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name.lower())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    likely = [entry for entry in entries if entry.suffix.lower() in WEIGHT_SUFFIXES or entry.is_dir()]
    return [entry for entry in likely if not entry.name.startswith(".") and is_weights(entry)]


def is_weights(path: Path) -> bool:
    """A file, or a folder with Hugging Face's names for weights in it. Looks at names alone."""
    if os.path.isfile(path):  # unlike Path.is_file, says no to impossible names instead of raising
        return True
    if not os.path.isdir(path):
        return False
    from ..checkpoints.files import FOLDER_FILES

    return any(os.path.isfile(path / name) for name in (*FOLDER_FILES, "model.safetensors.index.json"))


def _default_weights(folder: Path, interactive: bool) -> Path:
    on_disk = weights_in(folder)
    users_own = [entry for entry in on_disk if not entry.name.startswith(BUILTIN_PREFIX)]
    if users_own:
        return _choose(users_own, f"{folder} holds several weights", interactive)
    script = Path(sys.argv[0]).name
    if not script.endswith(".py") or script.startswith("__"):  # not started as a script: from a test, or with -c
        script = "run_image.py"
    download = f"python {script} -m {SUGGESTED_RELEASE}"
    if os.path.isfile(folder / BUILTIN_MODEL):
        print(f"Using the small model that comes with the checkout; for a far better one pass -m {SUGGESTED_RELEASE}")
        return folder / BUILTIN_MODEL
    raise UserError(f"there are no weights in {folder}; to download some, run: {download}")


def _release_weights(release: "Release", folder: Path, on_disk: Sequence[Path]) -> Path:
    """The published file on disk (a copy in another format counts: its name says the same), else downloaded."""
    found = _called(release.file_name, on_disk) or _called(release.name, on_disk)
    found = found or _called(Path(release.file_name).stem, on_disk)
    if found:
        return found[0]
    from .download import download_release

    return download_release(release, folder)


def _repository_weights(repository: str, folder: Path, on_disk: Sequence[Path]) -> Path:
    """A Hugging Face repository: one that RELEASES lists, one downloaded before, else downloaded now."""
    from ..releases import RELEASES

    listed = [row for row in RELEASES.values() if row.repository.lower() == repository.lower()]
    if len(listed) == 1:
        return _release_weights(listed[0], folder, on_disk)
    if listed:
        raise UserError(f"{repository} holds several models: pass -m {' or -m '.join(row.name for row in listed)}")
    found = _called(repository_folder_name(repository), on_disk)
    if found:
        return found[0]
    from .download import download_repository

    return download_repository(repository, folder / repository_folder_name(repository))


def repository_folder_name(repository: str) -> str:
    """What a downloaded repository's folder is called. It keeps the name, which `type_from_file_name` looks at.

    >>> repository_folder_name("depth-anything/Depth-Anything-V2-Small-hf")
    'depth-anything--Depth-Anything-V2-Small-hf'
    """
    return repository.replace("/", "--")  # which no owner or name may contain: the way back is unique


def _is_repository_id(text: str) -> bool:
    """Whether "a/b" means a repository: not if it ends like a weight file, or `a` is a folder (a mistyped path)."""
    if not REPOSITORY_ID.fullmatch(text) or text.lower().endswith(WEIGHT_SUFFIXES):
        return False
    return not os.path.isdir(text.split("/")[0])


def _release_called(name: str) -> "Release | None":
    """The row of RELEASES with this name or file name, or None."""
    from ..releases import RELEASES

    for row in RELEASES.values():
        if _plain(name) in (_plain(row.name), _plain(row.file_name)):
            return row
    return None


def _called(name: str, entries: Iterable[Path]) -> list[Path]:
    """The entries with this name, or this name before their suffix; one with the whole name goes before the others."""
    entries = list(entries)
    whole = [entry for entry in entries if _plain(entry.name) == _plain(name)]
    return whole or [entry for entry in entries if entry.is_file() and _plain(entry.stem) == _plain(name)]


def _plain(name: str) -> str:
    """A name as it is compared. Composed letters: macOS stores "é" as two characters, keyboards send one."""
    return unicodedata.normalize("NFC", name).casefold().replace("-", "_")


def _choose(entries: Sequence[Path], question: str, interactive: bool) -> Path:
    """The only entry, or the one that the person at the terminal picks."""
    if len(entries) == 1:
        return entries[0]
    if not interactive:
        raise UserError(f"{question}: {', '.join(entry.name for entry in entries)}; say which with -m")
    print(f"{question}:")
    for number, entry in enumerate(entries, start=1):
        print(f"  {number}  {entry.name}  ({megabytes(_size_on_disk(entry))})")
    while True:
        try:
            answer = input(f"Which one (1 to {len(entries)})? ").strip()
        except (EOFError, KeyboardInterrupt):
            raise UserError("no weights were chosen; say which with -m") from None
        if answer.isdecimal() and 1 <= int(answer) <= len(entries):
            return entries[int(answer) - 1]
        print(f"Please answer with a number from 1 to {len(entries)}, or press Ctrl-C to stop.")


def _size_on_disk(entry: Path) -> int:
    files = [entry] if entry.is_file() else [file for file in entry.iterdir() if file.is_file()]
    return sum(file.stat().st_size for file in files)


def megabytes(size: int) -> str:
    """A number of bytes for people.

    >>> megabytes(99_173_660), megabytes(250_000)
    ('99 MB', '0.2 MB')
    """
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"


def _no_such_path(path: Path) -> str:
    if os.path.isdir(path):
        return f"{path}: this folder has neither model.safetensors nor pytorch_model.bin; give a weight file in it"
    return f"{path}: there is no such file; expected a weight file ({', '.join(WEIGHT_SUFFIXES)}) or a folder"


def _unknown_name(name: str, folder: Path, on_disk: Iterable[Path]) -> str:
    from ..releases import RELEASES

    spellings = {_plain(text): row.name for row in RELEASES.values() for text in (row.file_name, row.name)}
    spellings |= {_plain(entry.name): entry.name for entry in on_disk}
    near = [text for text in spellings if _plain(name) in text]
    near += difflib.get_close_matches(_plain(name), spellings, n=3, cutoff=0.6)
    close = list(dict.fromkeys(spellings[text] for text in near))[:4]
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return (
        f"{name!r} is no weight file, no part of a name in {folder}, no published name{hint} "
        f"and no Hugging Face repository (owner/name); published are {', '.join(RELEASES)}"
    )
