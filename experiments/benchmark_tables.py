"""Timing in turn, tables, and the file that the results go into."""

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from lib.errors import UserError

RESULTS = Path(__file__).resolve().parent / "BENCHMARKS.md"
NOT_MEASURED = "not measured"
TITLE = """# Benchmarks

Written by `python experiments/benchmark_speed.py --write`; each table says on which machine, with what, and when. Weights are
random: times do not depend on them. Contestants of a table ran in turn (A B C A B C ...) in one process, and ratios are medians
of the ratios within each turn, unless it says otherwise.
"""


def time_in_turn(
    contestants: dict[str, Callable], *, pairs: int, synchronize: Callable = lambda: None
) -> dict[str, list[float]]:
    """Run every contestant once to warm up and then `pairs` times in turn; seconds of each run."""
    seconds = {name: [] for name in contestants}
    for turn in range(pairs + 1):
        for name, run in contestants.items():
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios within each turn, which a drifting machine disturbs less than the ratio of two medians."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def milliseconds(seconds: Sequence[float]) -> str:
    """The median."""
    median = 1000 * statistics.median(seconds)
    return f"{median:.0f}" if median >= 100 else f"{median:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions(*more: str) -> str:
    """One line: machine, versions, date. more: what else matters."""
    import torch
    import transformers

    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"transformers {transformers.__version__}"]
    for name in ("onnxruntime", "openvino"):
        if name in sys.modules:
            versions.append(f"{name} {sys.modules[name].__version__.partition('-')[0]}")
    return f"{', '.join([*more, machine(), *versions])}, {date.today()}."


def machine() -> str:
    """The processor's name, its cores, and the threads that PyTorch uses."""
    import torch

    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"model name\s*:\s*(.+)", information.read_text(errors="replace"))
        name = found.group(1).strip() if found else name
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def write_section(path: Path, name: str, title: str, text: str) -> None:
    """Put a section into the file of results, in place of what it said before; other sections stay as they are."""
    from lib.demo.save import atomic_file

    try:
        whole = path.read_text() if path.exists() else TITLE
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    section = f"{begin}\n## {title}\n\n{text.strip()}\n{end}\n"
    if begin in whole and end in whole:
        before, rest = whole.split(begin, 1)
        whole = before + section + rest.split(end, 1)[1].removeprefix("\n")
    else:
        whole = whole.rstrip() + "\n\n" + section
    with atomic_file(path) as file:
        file.write(whole.encode())
