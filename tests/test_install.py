"""`pip install .` gives other projects the package plain_dpt, which works without the checkout."""

import shutil
import subprocess
import sys

import cv2
import pytest

from tests.conftest import REPOSITORY, make_picture

USE = """
import sys
import cv2
import plain_dpt
from plain_dpt.encoders.layers import WeightCache

config, model, imgproc = plain_dpt.make_dpt_from_state_dict(sys.argv[1])
result = plain_dpt.predict_depth(model, imgproc, cv2.imread(sys.argv[2]))
plain_dpt.save_dpt("copy.safetensors", config, model)
copied = plain_dpt.make_dpt_from_state_dict("copy.safetensors")[1]
image = imgproc.prepare_image_bgr(cv2.imread(sys.argv[2]))
assert (copied.inference(image) == model.inference(image)).all()
print(plain_dpt.__file__, result.depth.shape, "lib" in sys.modules)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with plain_dpt installed in it, as pip installs it (its dependencies are here already)."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")  # pip leaves build files behind: not in the checkout
    shutil.copytree(REPOSITORY / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def test_the_installed_package_works_outside_the_checkout(installed, tiny_v2, tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), make_picture(120, 160))
    done = subprocess.run(
        [sys.executable, "-P", "-c", USE, str(tiny_v2), "picture.png"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert "(120, 160) False" in done.stdout


def test_every_package_folder_is_installed(installed):
    ours = {path.relative_to(REPOSITORY / "lib") for path in (REPOSITORY / "lib").rglob("*.py") if "figures" not in path.parts}
    theirs = {path.relative_to(installed / "plain_dpt") for path in (installed / "plain_dpt").rglob("*.py")}
    assert theirs == ours
