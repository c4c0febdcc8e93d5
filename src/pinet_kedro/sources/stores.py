"""Stores of files behind an address: S3 through boto3, any other through fsspec.

s3fs is not used: it pins a version of botocore that does not go with current ones of boto3.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pinet_kedro.errors import InputError
from pinet_kedro.printable import public

_CONNECT_S, _READ_S = 5, 20  # without an answer, at each of three attempts in S3
# What stores say about a version of a file, without case and punctuation.
_IDENTITY = {
    "etag", "mtime", "lastmodified", "modified", "modificationtime", "updated", "created", "generation", "versionid",
    "md5", "md5hash", "contentmd5", "crc32c", "digest", "sha", "sha256", "blobid",
}  # fmt: skip


class Found(NamedTuple):
    """A file in a store. `identity` is another text when the file is another one; None: the store cannot tell."""

    path: str
    size: int | None
    identity: str | None


class Store(Protocol):
    """Paths are those of the addresses without the protocol. Methods raise what the library raises."""

    def one(self, path: str) -> Found | None:
        """The file at this path, None if there is none."""

    def under(self, prefix: str) -> list[Found]:
        """All files whose paths begin so, and perhaps others."""

    def fetch(self, found: Found, to: Path, progress: Callable[[int], Any]) -> None:
        """Copies the file to this path; `progress` gets numbers of bytes."""


def open_store(address: str) -> tuple[Store, str]:
    """The store of an address, and the path in it. Raises `InputError` if a package is missing or no store fits."""
    protocol, _, path = address.partition("://")
    try:
        return (_S3(), path) if protocol in ("s3", "s3a") else _opened_by_fsspec(protocol, address)
    except ImportError as error:
        way = "pip install 'pinet-kedro[s3]'" if error.name == "boto3" else "install it with pip"
        raise InputError(f"The package for {protocol}://… is not installed ({error}): {way}.") from error


class _S3:
    def __init__(self) -> None:
        import boto3
        from botocore.config import Config

        retries: Any = {"total_max_attempts": 3, "mode": "standard"}
        # Not boto3's session of the process, which keeps the credentials of its first use.
        self._client = boto3.Session().client(
            "s3", config=Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries=retries)
        )

    def one(self, path: str) -> Found | None:
        from botocore.exceptions import ClientError

        bucket, _, key = path.partition("/")
        if not key or key.endswith("/"):
            return None
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return Found(path, head["ContentLength"], f"{head['ETag']} {head['LastModified']}")

    def under(self, prefix: str) -> list[Found]:
        bucket, _, key = prefix.partition("/")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        return [
            Found(f"{bucket}/{entry['Key']}", entry["Size"], f"{entry['ETag']} {entry['LastModified']}")
            for page in pages
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")  # stands for a folder
        ]

    def fetch(self, found: Found, to: Path, progress: Callable[[int], Any]) -> None:
        bucket, _, key = found.path.partition("/")
        self._client.download_file(bucket, key, str(to), Callback=progress)


def _opened_by_fsspec(protocol: str, address: str) -> tuple[Store, str]:
    import fsspec

    options: dict[str, Any] = {}
    if protocol in ("http", "https"):
        import aiohttp

        if address.partition("?")[0].endswith("/"):
            raise InputError(f"{public(address)}: HTTP has no folders. Give the address of a file.")
        # Its own limit is 5 minutes for a whole file. Files arrive as they are, not unpacked on the way.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
        options = {"client_kwargs": {"timeout": limits, "trust_env": True}, "headers": {"Accept-Encoding": "identity"}}
    try:
        system, path = fsspec.core.url_to_fs(address, **options)
    except ValueError as error:
        raise InputError(f"{protocol}://…: there is no such kind of address ({error}).") from error
    return _Fsspec(system, single=bool(options)), path


class _Fsspec:
    def __init__(self, system: Any, single: bool) -> None:
        """`single`: the store has single files, and cannot list them."""
        self._system = system
        self._single = single

    def one(self, path: str) -> Found | None:
        self._system.invalidate_cache()
        try:
            info = self._system.info(path)
        except FileNotFoundError as error:
            status = getattr(error.__cause__, "status", None)
            if self._single and status not in (404, 410):  # fsspec raises the same where a server is away
                raise error.__cause__ or error from None
            return None
        return _found(path, info) if info["type"] == "file" else None

    def under(self, prefix: str) -> list[Found]:
        if self._single:
            return []
        self._system.invalidate_cache()
        try:
            files = self._system.find(prefix.rpartition("/")[0] or "/", detail=True)
        except FileNotFoundError:
            return []
        return [_found(path, info) for path, info in files.items() if info["type"] == "file"]

    def fetch(self, found: Found, to: Path, progress: Callable[[int], Any]) -> None:
        from fsspec.callbacks import Callback

        class Progress(Callback):
            def relative_update(self, inc: int = 1) -> None:
                progress(inc)

        self._system.get_file(found.path, str(to), callback=Progress())


def _found(path: str, info: dict[str, Any]) -> Found:
    said = {key: info[key] for key in sorted(info) if key.lower().replace("_", "").replace("-", "") in _IDENTITY}
    return Found(path, info.get("size"), str(said) if any(said.values()) else None)
