"""The examples in lib's docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import lib

MODULES = ["lib", *(module.name for module in pkgutil.walk_packages(lib.__path__, "lib."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_examples_are_found():
    tests = [test for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in tests) >= 3
