"""The shape of the code: short parameter lists, and files and packages that can be read in one go.

The lists of exceptions may only shrink: an entry that is no longer needed makes a test fail.
"""

import ast
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "pinet_kedro"
FILES = sorted(SOURCE.rglob("*.py"))
MOST_PARAMETERS, MOST_LINES, MOST_LINES_OF_PACKAGE = 6, 350, 1200

LONG_SIGNATURES: set[str] = set()
LONG_FILES: set[str] = set()
LONG_PACKAGES: set[str] = set()


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


def parameters(function):
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls", "ctx")]  # ctx: self of a torch.autograd.Function


def is_command(function):
    """Whether click calls it: each of its parameters is an option of the command line."""
    called = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return any(isinstance(d, ast.Attribute) and d.attr in ("command", "option") for d in called)


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_function_takes_more_than_six_parameters():
    found = {
        f"{name_of(path)}: {function.name}"
        for path in FILES
        for function in functions(path)
        if len(parameters(function)) > MOST_PARAMETERS and not is_command(function)
    }
    assert found == LONG_SIGNATURES


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_longer_than_350_lines():
    assert {name_of(path) for path in FILES if lines(path) > MOST_LINES} == LONG_FILES


def test_no_package_is_longer_than_1200_lines():
    """A package is a folder below `pinet_kedro`; those of `pipelines` and `studies` are counted one by one."""
    sizes = Counter()
    for path in FILES:
        package = path.relative_to(SOURCE).parts[:-1]
        depth = 2 if package[:1] in (("pipelines",), ("studies",)) else 1
        sizes["/".join(package[:depth])] += lines(path)
    del sizes[""]
    assert {name for name, size in sizes.items() if size > MOST_LINES_OF_PACKAGE} == LONG_PACKAGES


@pytest.mark.parametrize("name", sorted(p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"))
def test_every_package_says_what_it_is_for(name):
    assert ast.get_docstring(ast.parse((SOURCE / name / "__init__.py").read_text(encoding="utf-8")))
