"""The digest of a version's files. It shows whether they are the registered ones.

The digest is a tag of the version, in the registry's database. Whoever can write to the database is trusted. Whoever
can write only to the artifact store can damage a version, but cannot make anyone run code that was not registered.

The digest is the sha256 of a list with one line per file: its sha256 and its path. The list is the artifact
`files.sha256` of the version's run. It is used to name changed files, and only if it matches the digest.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

DIGEST = "files.sha256"  # tag of a version, and the list's name
TRUSTED = "files.trusted"  # tag of a version: when `kedro trust` stored its digest

# A file that MLflow adds to the files of a version when it downloads them.
_NOTE = "registered_model_meta"
_CACHE = "__pycache__"
_NAMED = 3  # most files per kind of change that a sentence names


def settle(folder: Path) -> dict[str, str]:
    """The sha256 of each file by its path in the folder, except for the file that MLflow adds.

    First removes bytecode caches: Python writes them when a version is loaded in place, and would run their content.
    Raises `ValueError` for a link or anything else that is not a regular file.
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
    """The list as text, one line per file."""
    return "".join(f"{digest}  {name!r}\n" for name, digest in sorted(files.items()))


def digest_of(text: str) -> str:
    """The digest of such a list."""
    return hashlib.sha256(text.encode()).hexdigest()


def difference(registered: str, found: str) -> str:
    """The difference between two lists, such as 'changed: code/a.py; added: code/b.py'."""
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
