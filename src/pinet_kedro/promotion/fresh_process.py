"""Tries a registered version in a separate process, as a server would load it, from files that have been checked.

The process runs this file by its path, isolated from the project (`python -I`). Nothing here imports `pinet_kedro`, so
the version answers with the code that is stored with it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

_WARM_UP = 5


@dataclass(frozen=True)
class FreshProcessResult:
    """The fault in words, or None; seconds to load the version; median milliseconds per request; items and scores of
    the best ten for each history."""

    fault: str | None
    load_s: float | None = None
    request_ms: float | None = None
    answers: Sequence[tuple[list[str], list[float]]] = ()


def try_version(
    files: Path, requests: int, timeout_s: float, histories: Sequence[Sequence[str]] = ()
) -> FreshProcessResult:
    """Loads a version from its checked files in a fresh process on one core, sends it the input example of its
    signature `requests` times, and asks it for these histories."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "histories.json")
        asked.write_text(json.dumps(histories), encoding="utf-8")
        command = [sys.executable, "-I", __file__, str(files), str(requests), str(asked)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=folder, env=environment, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return FreshProcessResult(f"no answer within {timeout_s:g} s")
    if done.returncode != 0:
        fault = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        without_credentials = re.sub(r"(?<=://)[^/@\s]+@", "…@", fault)
        return FreshProcessResult(without_credentials[:300])
    return FreshProcessResult(**json.loads(done.stdout.splitlines()[-1]))


def _main(files: str, requests: int, asked: str) -> None:
    import mlflow
    import torch

    torch.set_num_threads(1)
    started = time.perf_counter()
    # Nobody reads the warnings; for one of them MLflow looks up the modules of all installed packages (1 s of CPU).
    model = mlflow.pyfunc.load_model(files, suppress_warnings=True)
    load_s = time.perf_counter() - started
    example, signature = model.input_example, model.metadata.signature
    if example is None or signature is None or signature.outputs is None:
        raise SystemExit("the version has no signature with an input example")
    answer = model.predict(example)
    promised = {field.name for field in signature.outputs.inputs[0].type.properties if field.required}
    missing = {name for name in promised for row in answer if name not in row}
    if missing:
        raise SystemExit(f"the answer lacks {', '.join(sorted(missing))}, which the signature promises")
    if len(answer) != len(example) or not all(row["items"] for row in answer):
        raise SystemExit("the answer has no items for the input example")
    took = []
    for _ in range(_WARM_UP + requests):
        sent = time.perf_counter()
        model.predict(example)
        took.append(time.perf_counter() - sent)
    result: dict[str, Any] = {"fault": None, "load_s": load_s, "request_ms": 1000 * median(took[_WARM_UP:])}
    if histories := json.loads(Path(asked).read_text(encoding="utf-8")):
        found = model.predict([{"history": history} for history in histories], params={"k": 10})
        result["answers"] = [(row["items"], row["scores"]) for row in found]
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
