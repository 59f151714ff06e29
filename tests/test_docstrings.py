"""The examples in lib's docstrings are true, and everything public has a docstring that says what goes in and comes out."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest
from torch import nn

import lib
from tests.conftest import REPOSITORY

MODULES = ["lib", *(module.name for module in pkgutil.walk_packages(lib.__path__, "lib."))]
CORE = [name for name in MODULES if not name.startswith("lib.demo")]
FILES = sorted(path for path in (REPOSITORY / "lib").rglob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_examples_are_found():
    tests = [test for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in tests) >= 3


def undocumented(node: ast.AST, *, with_methods: bool, prefix: str = "") -> Iterator[str]:
    """Public functions and classes without docstring, of a module; with_methods: public methods too."""
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        overrides = bool(prefix) and hasattr(nn.Module, child.name) and child.name != "forward"  # says what PyTorch says
        if ast.get_docstring(child) is None and not overrides:
            yield prefix + child.name
        if isinstance(child, ast.ClassDef) and with_methods:
            yield from undocumented(child, with_methods=True, prefix=f"{prefix}{child.name}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has none"
    assert list(undocumented(tree, with_methods="demo" not in path.parts)) == []


def modules_of_networks() -> list[type[nn.Module]]:
    classes = [value for name in CORE for value in vars(importlib.import_module(name)).values() if inspect.isclass(value)]
    return sorted({c for c in classes if issubclass(c, nn.Module) and c.__module__ in CORE}, key=lambda c: c.__qualname__)


@pytest.mark.parametrize("network", modules_of_networks(), ids=lambda network: network.__name__)
def test_forward_says_its_shapes(network):
    """Such as B x N x C; or it says that it passes something on, as WeightCache and BiasCache do with results."""
    text = inspect.getdoc(network.forward)
    assert re.search(r"\S x \S|same shape", text) or network.__name__.endswith("Cache") or "Maps of" in text, text


def test_papers_are_named_by_section_or_equation():
    """Files that implement a paper say which, and where in it."""
    for name in ("vit", "beit", "swin", "hybrid", "levit"):
        assert re.search(r"Papers?:", importlib.import_module(f"lib.encoders.{name}").__doc__), name
    for name in ("reassemble", "fusion", "head"):
        assert "DPT paper" in importlib.import_module(f"lib.decoder.{name}").__doc__, name
