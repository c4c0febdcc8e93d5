"""Which version answers which user, and what is logged of the answers."""

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .answer_log import AnswerLog
from .batching import Batcher
from .messages import Scope

_Row = dict[str, Any]
_ROW = re.compile(rb'("message": "row )(\d+)')


@dataclass(frozen=True, eq=False)
class Arm:
    """A version that answers a share of the users; `name` is the alias or number that it is served as."""

    name: str
    share: float
    version: str
    batcher: Batcher


class Arms:
    """Answers each row of a request with the version of its user, and logs the answers to users."""

    def __init__(self, arms: list[Arm], salt: str, log: AnswerLog | None) -> None:
        self._first = arms[0]
        # By name, whatever the order in the configuration: moving a share moves one border between two arms.
        self._low, self._high = min(arms, key=lambda arm: arm.name), max(arms, key=lambda arm: arm.name)
        self._salt = salt
        self._log = log
        shares = ",".join(f"{arm.name}={arm.version}:{arm.share:g}" for arm in arms)
        self._split = f"{shares};salt={salt}" if len(arms) > 1 else ""

    def of(self, user: str | None) -> Arm:
        """The arm of a user, always the same while the shares and the salt stay; the first one without a user."""
        if user is None or self._low is self._high:
            return self._first
        digest = hashlib.blake2b(f"{self._salt}\0{user}".encode(), digest_size=8).digest()
        return self._low if int.from_bytes(digest) < self._low.share * 2**64 else self._high

    async def ask(self, scope: Scope, request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of the response to a checked request, in the order of its rows."""
        rows: list[_Row] = request["inputs"]
        arms = [self.of(row.get("user_id")) for row in rows]
        asked = list(dict.fromkeys(arms))
        if len(asked) == 1:
            answers = [await asked[0].batcher.ask(scope, request)]
        else:
            answers = await asyncio.gather(*(arm.batcher.ask(scope, _part(request, arms, arm)) for arm in asked))
        status, body = answers[0]
        for arm, answer in zip(asked, answers, strict=True):
            if answer[0] != 200:
                return answer[0], _of_request(answer[1], [place for place, of in enumerate(arms) if of is arm])
        if len(asked) == 1 and self._log is None:
            return status, body
        found = {arm: iter(json.loads(body)["predictions"]) for arm, (_, body) in zip(asked, answers, strict=True)}
        predictions = [next(found[arm]) for arm in arms]
        if self._log is not None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._log.write(
                {
                    "time": now, "user": row["user_id"], "items": answer["items"], "scores": answer["scores"],
                    "stratum": answer["stratum"], "version": arm.version, "arm": arm.name, "split": self._split,
                }
                for row, arm, answer in zip(rows, arms, predictions, strict=True)
                if (row.get("user_id") or "").strip()
            )  # fmt: skip
        return 200, body if len(asked) == 1 else json.dumps({"predictions": predictions}).encode()


def _part(request: dict[str, Any], arms: list[Arm], mine: Arm) -> dict[str, Any]:
    """The request with the rows of one arm."""
    return request | {"inputs": [row for row, arm in zip(request["inputs"], arms, strict=True) if arm is mine]}


def _of_request(failure: bytes, rows: list[int]) -> bytes:
    """The failure of a part with these rows, naming the row of the whole request."""
    return _ROW.sub(lambda found: b"%s%d" % (found[1], rows[int(found[2])]), failure, count=1)
