"""The README and the other pages: their code runs, their commands parse, their links lead somewhere, their tables agree."""

import ast
import doctest
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from lib.figures import make_figures
from lib.releases import RELEASES
from tests.conftest import REPOSITORY, make_picture

PAGES = sorted(path for path in REPOSITORY.rglob("*.md") if not {".venv", "venv", "node_modules"} & set(path.parts))
NOTEBOOKS = sorted((REPOSITORY / "simple_examples").glob("*.ipynb"))
EXPLAINED = [REPOSITORY / "lib" / folder / "README.md" for folder in ("", "encoders", "checkpoints")]
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


def without_code(text: str) -> str:
    """A page without its code, in which brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def links_in(page: Path) -> list[str]:
    """Targets of links and pictures, of a page or of a notebook's texts."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    # of a link whose text is code, the code alone goes
    return re.findall(r"\]\(([^)\s]+)[^)]*\)", without_code(text)) + re.findall(
        r"""<(?:a|img)[^>]+(?:href|src)=["']([^"']+)""", text
    )


def anchors_of(page: Path) -> set[str]:
    """What a link can name after #: headings, as GitHub turns them into anchors."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)) for heading in headings]
    return {heading.strip().lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES + NOTEBOOKS, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    for link in links_in(page):
        if re.match(r"[a-z]+:", link):
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/[\w./#~%+-]*)?", link), f"{link} is no whole https address"
            continue
        target, _, anchor = link.partition("#")
        assert not target.startswith("/"), f"{link} leaves the repository"
        file = (page.parent / target).resolve() if target else page
        assert file.exists() and file.is_relative_to(REPOSITORY), f"there is no {link}"
        if anchor:
            assert anchor in anchors_of(file), f"{link}: no such heading"


def test_the_link_checker_can_tell(tmp_path):
    """Links of all kinds are found, and headings become the anchors that GitHub makes."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One *two*, three: `four`\n[a](b.md#c) ![d](e.svg) `[no](x)` [`f`](g.py) <img src='h.png'>\n```\n[no](y)\n```\n"
    )
    assert links_in(page) == ["b.md#c", "e.svg", "g.py", "h.png"]
    assert anchors_of(page) == {"one-two-three-four"}


def test_every_figure_is_shown_on_a_page():
    shown = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links_in(page)}
    figures = [path for path in (REPOSITORY / "lib" / "figures").iterdir() if path.suffix in (".svg", ".png", ".jpg")]
    assert sorted(path.name for path in figures if path not in shown) == []


@pytest.mark.parametrize("page", EXPLAINED, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_examples_in_the_pages_are_true(page):
    """Lines that begin with >>>, as in docstrings; those of one page follow each other."""
    text = page.read_text(encoding="utf-8")
    examples = "\n".join(block for block in code_blocks(text, "python") if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(examples, {}, page.name, str(page), 0)
    assert len(test.examples) > 10
    report = io.StringIO()
    results = doctest.DocTestRunner().run(test, out=report.write)
    assert results.failed == 0, report.getvalue()


def test_the_pages_of_lib_name_every_file():
    """Of the library without the scripts' part: a newcomer finds each of them on a page."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in EXPLAINED)
    folders = [REPOSITORY / "lib" / folder for folder in ("", "encoders", "decoder", "checkpoints")]
    names = {path.name for folder in folders for path in folder.glob("*.py")} - {"__init__.py"}
    assert {name for name in names if name not in text} == set()


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


DRAWN = [name for name in make_figures.NAMES if name.endswith(".svg")]


@pytest.mark.parametrize("name", DRAWN)
def test_drawings_are_what_their_script_draws(name):
    drawn = (make_figures.FOLDER / name).read_text(encoding="utf-8")
    assert drawn == make_figures.figures("no model is needed")[name](), "run lib/figures/make_figures.py again"


def test_figures_are_there_and_small():
    assert set(make_figures.figures("no model is needed")) == set(make_figures.NAMES)
    sizes = {name: (make_figures.FOLDER / name).stat().st_size for name in make_figures.NAMES}
    assert max(sizes.values()) <= 150_000 and sum(sizes.values()) <= 1_500_000


@pytest.mark.parametrize("release", ["depth-anything-v2-small", "dpt-swin2-tiny-256"])
def test_the_table_of_parts_is_what_is_computed(release):
    """Two of its rows; the larger models take longer."""
    from lib.figures.parts import parts_row

    assert parts_row(release) in make_figures.PARTS_PAGE.read_text(encoding="utf-8")


def test_parts_are_counted_right():
    """Against the formulas of a transformer: T tokens of C features, each product counted as two operations."""
    from lib.figures.parts import count_parts

    counts = count_parts("depth-anything-v2-small")
    tokens, features, blocks = 1 + 37**2, 384, 12
    linear = 2 * tokens * 12 * features**2  # queries, keys, values; projection; 4 times as wide and back
    attention = 2 * 2 * tokens**2 * features
    assert counts["imgencoder"][1] == blocks * (linear + attention)
    assert counts["patch_embed"] == (features * 3 * 14**2 + features, 2 * 37**2 * features * 3 * 14**2)
    total = sum(parameters for parameters, _ in counts.values()) / 1e6
    assert total == pytest.approx(RELEASES["depth-anything-v2-small"].parameters, rel=0.01)  # the file carries unused ones too


def test_scripts_have_docstrings_that_name_themselves():
    for script in [*(REPOSITORY / "simple_examples").glob("*.py"), *(REPOSITORY / "experiments").glob("*.py")]:
        text = script.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text or script.parent.name == "simple_examples":
            assert f"{script.parent.name}/{script.name}" in ast.get_docstring(ast.parse(text)), script.name
