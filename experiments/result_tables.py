"""Tables as files: CSV with every digit for programs, Markdown with some for people.

`experiments/result_tables.py` serves the scripts that measure.
"""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from experiments.evaluation_files import table_line
from lib.demo.save import atomic_file


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Rows of equal keys, which become the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode(errors="backslashreplace"))


def write_text(path: Path, lines: Sequence[str]) -> None:
    """Lines as a file, whole or not at all."""
    with atomic_file(path) as file:
        file.write(("\n".join(lines) + "\n").encode(errors="backslashreplace"))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    """The lines of a table; numbers to the right, with four digits behind the point."""
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    lines = [table_line([str(title) for title in header]), "|" + "".join("---:|" if each else "---|" for each in numeric)]
    return lines + [table_line([cell(value) for value in row]) for row in rows]


def cell(value: object) -> str:
    """One entry of a table."""
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "-"
    return str(value).replace("|", "\\|")
