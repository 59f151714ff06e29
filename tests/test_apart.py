"""Runs the tests of training (test_train_depth.py, test_training*.py) in a process of their own.

In one process with the libraries of engines, codecs and browsers, which no program of ours has all at once, training has
crashed in native code after some minutes. To run one of them alone: PLAIN_DPT_TESTS_APART=1 python -m pytest tests/test_train_depth.py
"""

import os
import subprocess
import sys

import pytest

from .conftest import APART, REPOSITORY


@pytest.mark.parametrize("files", [["test_train_depth.py"], ["test_training.py", "test_training_data.py"]], ids=" ".join)
def test_training_apart(files):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(f"tests/{name}" for name in files)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {APART: "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
