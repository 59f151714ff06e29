"""The README and the other pages: their code runs, their commands parse, their links lead somewhere, their tables agree."""

import ast
import re
import shlex
import shutil
import subprocess
import sys

import cv2
import pytest

from lib.releases import RELEASES
from tests.conftest import REPOSITORY, make_picture

PAGES = sorted(path for path in REPOSITORY.rglob("*.md") if not {".venv", "venv", "node_modules"} & set(path.parts))
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("number", range(len(code_blocks(README, "python"))))
def test_python_in_the_readme_runs(number, tmp_path, tiny_v2):
    shutil.copy(tiny_v2, tmp_path / "model.pth")
    cv2.imwrite(str(tmp_path / "picture.jpg"), make_picture())
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n" + code_blocks(README, "python")[number]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def commands_of_scripts() -> list[str]:
    lines = "\n".join(code_blocks(README, "bash")).splitlines()
    commands = [part.strip() for line in lines for part in line.split("#")[0].split("&&")]
    return [command for command in commands if command.startswith("python ")]


@pytest.mark.parametrize("command", commands_of_scripts())
def test_commands_in_the_readme_use_options_that_exist(command):
    _, script, *arguments = shlex.split(command)
    shown = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=REPOSITORY)
    assert shown.returncode == 0, shown.stderr
    options = set(re.findall(r"(?<!\S)(--?[A-Za-z0-9_]+)", shown.stdout))
    assert {argument for argument in arguments if argument.startswith("-")} <= options


def test_options_in_the_readme_exist():
    shown = subprocess.run([sys.executable, "run_image.py", "--help"], capture_output=True, text=True, cwd=REPOSITORY)
    options = set(re.findall(r"(?<!\S)(--?[A-Za-z0-9_]+)", shown.stdout))
    table = re.search(r"\| Option \| Meaning \|\n(.*?)\n\n", README, re.DOTALL).group(1)
    named = {option for row in table.splitlines() for option in re.findall(r"`(--?\w+)", row.split("|")[1])}
    assert named and named <= options


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_within_the_repository_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{target} in {page.name}"


def names_of_models() -> dict[str, str]:
    """{published name: its row in the README's table}; "-base" in a row means the first name with its size replaced."""
    table = re.search(r"\| Name \| Parameters \|.*?\n\n", README, re.DOTALL).group().strip()
    names = {}
    for row in table.splitlines()[2:]:
        first, *others = re.findall(r"`([^`]+)`", row.split("|")[1])
        for name in [first, *others]:
            names[first.rsplit("-", 1)[0] + name if name.startswith("-") else name] = row
    return names


def test_the_readme_lists_every_release_with_its_licence():
    rows = names_of_models()
    assert set(rows) == set(RELEASES)
    for name, row in rows.items():
        assert row.split("|")[4].strip() == RELEASES[name].licence
        assert f"{RELEASES[name].parameters:.0f} M" in row


def test_the_figure_is_what_its_script_draws():
    from lib.figures import make_figures

    drawn = (make_figures.FOLDER / "five_steps.svg").read_text(encoding="utf-8")
    assert drawn == make_figures.five_steps_svg(), "run lib/figures/make_figures.py again"


def test_scripts_have_docstrings_that_name_themselves():
    for script in [*(REPOSITORY / "simple_examples").glob("*.py"), *(REPOSITORY / "experiments").glob("*.py")]:
        text = script.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text or script.parent.name == "simple_examples":
            assert f"{script.parent.name}/{script.name}" in ast.get_docstring(ast.parse(text)), script.name
