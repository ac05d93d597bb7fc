"""What is public is annotated, contracted and documented, and its examples have the right types."""

import ast
import doctest
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mnist_fn as mf

PROJECT = Path(__file__).parents[1]
PACKAGE = Path(mf.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if not path.stem.startswith("__")
)
PURE = [name for name in MODULES if ".effects." not in name]
# The modules that are public themselves, not only by what the package takes from them.
PUBLIC_MODULES = [mf.idx, mf.recipes, importlib.import_module("mnist_fn.views")]
EXPORTED = {name: value for name, value in vars(mf).items() if not name.startswith("_")}


def functions_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Return the functions of a module's own that others may call."""
    return {
        f"{module.__name__}.{name}": value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def public_functions() -> dict[str, Callable[..., Any]]:
    exported = {
        f"{value.__module__}.{name}": value
        for name, value in EXPORTED.items()
        if inspect.isfunction(value)
    }
    return exported | {k: v for module in PUBLIC_MODULES for k, v in functions_of(module).items()}


PUBLIC = public_functions()
CALLABLE = PUBLIC | {
    name: function
    for module in PURE
    for name, function in functions_of(importlib.import_module(module)).items()
}
RECORDS = [
    value for value in EXPORTED.values() if inspect.isclass(value) and hasattr(value, "_fields")
]
MNIST_IS_NEEDED = "mnist_fn.effects.datasets.load_mnist"  # and no test downloads it


def documentation(value: object) -> str:
    return inspect.getdoc(value) or ""


def section(name: str, text: str) -> str:
    """Return what a docstring says under a heading."""
    found = re.search(rf"^{name}:\n((?:[ ]+.*\n|\n)+)", text + "\n", re.M)
    return found[1] if found else ""


def described_arguments(text: str) -> list[str]:
    return re.findall(r"^    (\w+): ", section("Args", text), re.M)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_function_is_contracted(name: str) -> None:
    if name != "mnist_fn.contracts.checked":
        assert inspect.unwrap(PUBLIC[name]) is not PUBLIC[name]
        assert PUBLIC[name].__code__ is mf.checked(lambda: None).__code__


@pytest.mark.parametrize("name", CALLABLE)
def test_a_function_is_annotated(name: str) -> None:
    signature = inspect.signature(CALLABLE[name])
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_function_has_an_example_that_is_run(name: str) -> None:
    if name == MNIST_IS_NEEDED:
        return
    module = name.rpartition(".")[0]
    # As pytest finds them, which runs them all.
    finder = doctest.DocTestFinder(recurse=False)
    [test] = finder.find(PUBLIC[name], name, importlib.import_module(module))
    assert test.examples
    assert not any(doctest.SKIP in example.options for example in test.examples)


@pytest.mark.parametrize("name", CALLABLE)
def test_arguments_are_described_all_and_in_order_or_not_at_all(name: str) -> None:
    described = described_arguments(documentation(CALLABLE[name]))
    assert described in ([], list(inspect.signature(CALLABLE[name]).parameters))


@pytest.mark.parametrize("name", PUBLIC)
def test_what_a_public_function_raises_itself_is_said(name: str) -> None:
    tree = ast.parse(inspect.getsource(inspect.unwrap(PUBLIC[name])))
    raised = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    said = set(re.findall(r"\w+(?=:)", section("Raises", documentation(PUBLIC[name]))))
    assert raised & said or not raised  # some of them it may catch itself


def test_what_the_docstring_tests_look_for_is_found() -> None:
    text = "Do.\n\nArgs:\n    X: the images,\n        or: none.\n    Y: y.\n\nRaises:\n    E: e.\n"
    assert described_arguments(text) == ["X", "Y"]
    assert section("Raises", text) == "    E: e.\n\n"
    assert section("Returns", text) == ""


@pytest.mark.parametrize("record", RECORDS)
def test_a_public_record_says_what_its_fields_are(record: type) -> None:
    assert record.__doc__
    assert not record.__doc__.startswith(f"{record.__name__}(")
    [definition] = ast.parse(inspect.getsource(record)).body
    assert isinstance(definition, ast.ClassDef)
    body = definition.body
    own = {
        node.target.id
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    named = set(re.findall(r"\w+", record.__doc__))
    assert set(vars(record)["_fields"]) <= own | named


def test_names_are_exported_once_and_from_where_they_are_made() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    aliases = [(node.module, alias) for node in imports for alias in node.names]
    assert all(alias.name == alias.asname for _, alias in aliases)
    assert [name for name, n in Counter(alias.name for _, alias in aliases).items() if n > 1] == []
    for module, alias in aliases:
        value = EXPORTED[alias.name]
        if inspect.isfunction(value) or (hasattr(value, "_fields") and inspect.isclass(value)):
            assert value.__name__ == alias.name
            assert value.__module__ == f"mnist_fn.{module}"


def examples_of(name: str) -> Iterator[tuple[str, str]]:
    """Yield the examples of a module as programs: its imports, its names, and what is typed."""
    module = importlib.import_module(name)
    tree = ast.parse(inspect.getsource(module))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    for node in imports:
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = name.split(".")[: -node.level]
            node.module, node.level = ".".join([*parents, *filter(None, [node.module])]), 0
    for test in doctest.DocTestFinder().find(module):
        typed = "".join(example.source for example in test.examples)
        words = set(re.findall(r"\w+", typed)) - imported
        own = sorted(word for word in words if hasattr(module, word) and word in vars(module))
        program = [*map(ast.unparse, imports), *(f"from {name} import {word}" for word in own)]
        program.append("def example() -> None:")
        program += [f"    {line}" for line in typed.splitlines()]
        if typed:
            yield test.name, "\n".join(program) + "\n"


def programs() -> Iterator[tuple[str, str]]:
    """Yield all examples of the docstrings and of the README as programs, with their names."""
    for module in MODULES:
        yield from examples_of(module)
    readme = (PROJECT / "README.md").read_text()
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)):
        yield f"README_{i}", block


def misfits(checker: str, directory: Path) -> str:
    """Return what a type checker says of the programs in a directory."""
    # As a reader may write: without annotations, and NumPy's operators return Any.
    lenient = ["--allow-untyped-defs", "--allow-incomplete-defs", "--no-warn-return-any"]
    command = {
        "mypy": ["mypy", "--strict", *lenient, str(directory)],
        "pyright": ["pyright", "--level", "error", "--pythonpath", sys.executable, str(directory)],
    }[checker]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=PROJECT, capture_output=True, text=True
    )
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_examples_have_the_right_types(checker: str, tmp_path: Path) -> None:
    for name, program in programs():
        (tmp_path / f"{name.replace('.', '_')}.py").write_text(program)
    assert len(list(tmp_path.iterdir())) > len(PUBLIC)
    assert misfits(checker, tmp_path) == ""


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_wrong_type_in_an_example_is_found(checker: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("import mnist_fn as mf\n\nmf.key('0')\n")
    assert "key" in misfits(checker, tmp_path)
