"""A bounded log of answers: JSON lines in files of this process alone, so that no two writers can interleave."""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger("uvicorn.error")


class AnswerLog:
    """Appends answers to `answers-<time>-<process>.jsonl` in `folder`.

    A file has at most `max_bytes`; then the next one begins, and of all files in the folder, those of other processes
    included, the `files` that were written last stay. A disk that is full or a folder that cannot be written costs the
    line, never the answer: `lost` counts them.
    """

    def __init__(self, folder: str, max_bytes: int, files: int) -> None:
        self._folder, self._max_bytes, self._files = Path(folder), max_bytes, files
        self._file: int | None = None
        self._size = 0
        self.lost = 0

    def write(self, answers: Iterable[dict[str, Any]]) -> None:
        """Appends a line an answer, each with one call of the system: a killed process leaves at most one part."""
        for answer in answers:
            try:
                self._append(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
            except OSError as error:
                self.lost += 1
                if self.lost == 1:
                    log.warning("An answer is not in the log (%s). Answering goes on; further ones are counted.", error)

    def close(self) -> None:
        """Closes the file, and says how many answers were lost."""
        self._close()
        if self.lost:
            log.warning("%d answers are not in the log of this process (%s).", self.lost, self._folder)

    def _append(self, line: bytes) -> None:
        if len(line) > self._max_bytes:
            raise OSError(f"its {len(line)} bytes are more than serving.log.bytes")
        # A worker that was idle for long may find its file removed by another one.
        if self._file is None or self._size + len(line) > self._max_bytes or not os.fstat(self._file).st_nlink:
            self._file = self._begin()
        written = os.write(self._file, line)
        if written < len(line):  # the disk is full: no part of a line stays in the middle of a file
            try:
                os.ftruncate(self._file, self._size)
            except OSError:
                self._close()
            raise OSError("the disk is full")
        self._size += written

    def _begin(self) -> int:
        self._close()
        self._folder.mkdir(parents=True, exist_ok=True)
        mine = self._folder / f"answers-{datetime.now(UTC):%Y%m%dT%H%M%S_%f}-{os.getpid()}.jsonl"
        file = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size = 0
        with suppress(OSError):  # another process removes files as well
            others = [path for path in self._folder.glob("answers-*.jsonl") if path != mine]
            for path in sorted(others, key=lambda path: path.stat().st_mtime_ns)[: 1 - self._files]:
                path.unlink(missing_ok=True)
        return file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None
