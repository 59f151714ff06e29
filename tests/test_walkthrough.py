"""The notebook runs from its first cell to its last, shows pictures, and its answers are what it says they are."""

import base64
import re
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.checkpoints.files import save_dpt
from lib.demo.weights import BUILTIN_MODEL, MODEL_WEIGHTS
from lib.image_processor import PictureRule
from tests.conftest import REPOSITORY
from tests.midas import CONFIGS, OUTPUT, small_model

NOTEBOOK = REPOSITORY / "simple_examples" / "walkthrough.ipynb"
PICTURE_RULE = PictureRule(side=128, multiple=16)
HOW = "nbclient and ipykernel run notebooks: pip install -r tests/requirements.txt"
nbclient = pytest.importorskip("nbclient", reason=HOW)
nbformat = pytest.importorskip("nbformat", reason=HOW)
pytest.importorskip("ipykernel", reason=HOW)


def small_weights(folder: Path, family: str) -> Path:
    """A file of a small relative model with seeded weights."""
    config = CONFIGS[family] | {"model_type": "plain-dpt", "release": None, "output": OUTPUT}
    config["picture"] = asdict(PICTURE_RULE) | {"mean": list(PICTURE_RULE.mean), "std": list(PICTURE_RULE.std)}
    path = folder / f"{family}.safetensors"
    save_dpt(path, config, small_model(family))
    return path


def execute(weights: Path, *, until: str | None = None):
    """The notebook after a run with these weights, as a reader starts it: from its own folder. until: where to stop."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if until is not None:
        places = [place for place, cell in enumerate(notebook.cells) if until in cell.source]
        notebook.cells = notebook.cells[: places[0]]
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WALKTHROUGH_WEIGHTS", str(weights))
        environment.setenv("OMP_NUM_THREADS", "1")
        return client.execute()


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def pictures(notebook) -> list[np.ndarray]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    encoded = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) for text in encoded]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The whole notebook, run with what a fresh clone has, or a hybrid with seeded weights where that is not there."""
    builtin = MODEL_WEIGHTS / BUILTIN_MODEL
    return execute(builtin if builtin.exists() else small_weights(tmp_path_factory.mktemp("weights"), "hybrid"))


def test_the_notebook_runs(executed):
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    text = printed(executed)
    assert "the same as calling the model: True" in text
    assert "patch grid (15, 20)" in text
    assert re.search(r"map 1: 1 x \d+ x 60 x 80, 4 times the patch grid", text)
    assert "128 x 160 pixels, 8 x 10 patches, 81 tokens" in text
    assert re.search(r"1 / metres = -?\d+\.\d+ \* v \+ -?\d", text)
    shown = pictures(executed)
    assert (
        len(shown) == sum("show(" in cell.source for cell in executed.cells if cell.cell_type == "code") - 1
    )  # its definition
    assert all(picture.std() > 5 for picture in shown)  # none is empty


def test_the_trained_model_confirms_the_lesson(executed):
    """Two known distances with the shift are better than one without, by much: that is what the page teaches."""
    if not (MODEL_WEIGHTS / BUILTIN_MODEL).exists():
        pytest.skip("the built-in model is not there")
    text = printed(executed)
    with_shift = float(re.search(r"with the shift, the median pixel is off by a factor of ([\d.]+)", text).group(1))
    without = float(re.search(r"without it, by ([\d.]+)", text).group(1))
    assert with_shift < 1.25 < without
    moved = [float(number) for number in re.findall(r"the depth moves by ([\d.]+) standard", text)]
    assert min(moved[2:]) > max(moved[:2])  # the coarse maps carry the room


def test_the_notebook_runs_with_a_plain_transformer(tmp_path):
    """It promises that any relative model will do, not only the built-in hybrid."""
    text = printed(execute(small_weights(tmp_path, "vit"), until="## What the numbers mean"))
    assert "stage 1: 1 x 301 x 64" in text
    assert "the same as calling the model: True" in text


def test_the_notebook_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_every_exercise_has_an_answer():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    questions, answers = text.split("# Answers")
    asked = re.findall(r"\*\*Exercise (\d)\.\*\*", questions)
    assert asked == re.findall(r"^\*\*(\d)\.\*\*", answers, re.MULTILINE) == [str(n) for n in range(1, len(asked) + 1)]
    assert sum("answer" in cell.metadata.get("tags", []) for cell in cells) == len(asked)
