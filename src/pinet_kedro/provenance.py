"""What a run records so that it can be repeated: package versions, git state, code."""

import ast
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pinet_kedro

_PACKAGE = Path(pinet_kedro.__file__).parent
# The modules that compute a trained model and its ranks.
_METHOD = (
    "randomness.py", "reading", "interactions", "activeness.py", "categories.py", "dataset.py", "losses", "backbones",
    "aggregation", "asking.py", "evidence.py", "fitting", "plugins", "retrieval", "training", "recommender.py",
    "evaluation/ranks.py", "evaluation/metrics.py", "evaluation/intervals.py",
)  # fmt: skip

# Another version of these may train another model: the network, the rules of aggregation, the factors.
_LIBRARIES = ("torch", "torchjd", "implicit")

_PACKAGES = (
    "pinet-kedro", "torch", "torchjd", "numpy", "scipy", "pandas", "kedro", "mlflow", "great-expectations",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def git_state() -> str:
    """Commit of the working tree, with `+changes` if files differ from it; 'not a git checkout' outside of one."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def code_state() -> dict[str, str]:
    """Version of the package, git state, and a hash of the source code."""
    return {"version": version("pinet-kedro"), "git": git_state(), "source": _source_hash()}


@cache
def _source_hash() -> str:
    return _hash_of(path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py")))


@cache
def method_version(*more: str) -> str:
    """Hash of the code that computes models and ranks, of the versions of its libraries, and of `more` files, as
    `code_version` (takes 0.3 s)."""
    used = [f"{name} {version(name).partition('+')[0]}" for name in _LIBRARIES]  # a build for a GPU is no other version
    return _hash_of(text.encode() for text in (code_version(*_METHOD, *more), *used))


def code_version(*names: str) -> str:
    """Hash of these files and folders of the package, without comments, docstrings and layout."""
    found = [_PACKAGE / name for name in names]
    files = [file for path in found for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return _hash_of(ast.dump(_bare(ast.parse(file.read_bytes()))).encode() for file in files)


def _bare(tree: ast.Module) -> ast.Module:
    """The module without its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return tree


def _hash_of(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:12]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
