"""experiments/README.md: every script has its row, commands exist, figures are small and drawn by the commands shown."""

import re
import shlex
import subprocess
import sys

import pytest

from experiments.figures import make_figures
from tests.conftest import REPOSITORY
from tests.test_pages import code_blocks

FOLDER = REPOSITORY / "experiments"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
LARGEST_TOGETHER = 1_000_000


def commands() -> list[str]:
    lines = "\n".join(code_blocks(PAGE, "bash")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("python ")]


def test_every_script_has_a_row():
    scripts = {path.name for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    rows = set(re.findall(r"^\| \[(\w+\.py)\]", PAGE, re.MULTILINE))
    assert scripts == rows


@pytest.mark.parametrize("script", sorted({command.split()[1] for command in commands()}))
def test_options_of_commands_exist(script):
    shown = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    options = set(re.findall(r"(?<!\S)(--?[A-Za-z0-9_]+)", shown.stdout))
    for command in commands():
        _, name, *arguments = shlex.split(command)
        assert name != script or {argument for argument in arguments if argument.startswith("-")} <= options, command


def without_models(command: str) -> str:
    """A command without -m and what follows it: which models they are, is said in words."""
    return re.sub(r" -m( [^-]\S*)+", "", command)


def test_figures_are_drawn_by_the_commands_shown():
    shown = {without_models(command) for command in commands()}
    drawing = {command for figure in make_figures.FIGURES.values() for command in figure.commands}
    assert {without_models(command) for command in (*make_figures.scene_commands(), *drawing)} <= shown


def test_figures_are_there_and_small():
    files = [path for path in (FOLDER / "figures").iterdir() if path.suffix in (".jpg", ".png", ".svg")]
    assert {path.name for path in files} >= set(make_figures.FIGURES)
    assert all(f"figures/{path.name}" in PAGE for path in files)
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) <= make_figures.LARGEST_BYTES and sum(sizes) <= LARGEST_TOGETHER
