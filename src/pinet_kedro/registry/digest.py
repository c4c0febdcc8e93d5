"""The digest of a version's files: whether they are those that were registered.

It is kept as a tag of the version, in the registry's database. Whoever can write there is trusted; whoever can write
to the artifact store alone can damage a version, and cannot make anyone run other code than was registered.

The digest is the sha256 of a list with one line a file, its sha256 and its path. The list lies as `files.sha256` with
the version's run, where it is believed only if it has that digest: it names the files that have changed.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

DIGEST = "files.sha256"  # tag of a version, and name of the list
TRUSTED = "files.trusted"  # tag of a version whose digest was stored later, by `kedro trust`: when

# What MLflow writes beside the files of a version when it downloads them.
_NOTE = "registered_model_meta"
_CACHE = "__pycache__"
_NAMED = 3  # files of a kind that a sentence names


def settle(folder: Path) -> dict[str, str]:
    """sha256 of every file by its path in the folder, without MLflow's note.

    Caches of bytecode are removed first: Python writes them where a version is loaded in place, and would run what
    lies in them. A link, or anything else that is no file, raises `ValueError`.
    """
    for cache in sorted(folder.rglob(_CACHE)):
        if cache.is_dir() and not cache.is_symlink():
            shutil.rmtree(cache)
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(f"'{name}' is no regular file")
        if path.is_file() and name != _NOTE:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def listing(files: Mapping[str, str]) -> str:
    """The files as text, a line each."""
    return "".join(f"{digest}  {name!r}\n" for name, digest in sorted(files.items()))


def digest_of(text: str) -> str:
    """The digest of a listing."""
    return hashlib.sha256(text.encode()).hexdigest()


def difference(registered: str, found: str) -> str:
    """What has happened to the files, such as 'changed: code/a.py; added: code/b.py', from two listings."""
    before, now = _read(registered), _read(found)
    kinds = {
        "changed": [name for name in now if name in before and now[name] != before[name]],
        "added": [name for name in now if name not in before],
        "missing": [name for name in before if name not in now],
    }
    return "; ".join(f"{kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _read(text: str) -> dict[str, str]:
    return {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(name[1:-1] for name in names[:_NAMED]) + more
