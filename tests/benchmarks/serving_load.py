"""Load on a server that `kedro serve` has started: latency of single requests, at a steady rate and one at a time.

    python tests/benchmarks/serving_load.py --port=5001 --rate=200 --seconds=60 --items=items.json

Requests leave on a clock whatever the server does, and latency counts from the moment that the clock names: a server
that falls behind is not let off by a client that waits for it. `--items`: a JSON list of raw item ids for histories of
3 to 30 items; `items.json` of a stored recommender is one.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np


class Connection:
    """One kept-alive connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)


def requests(items: list[str], host: str, count: int = 500) -> list[bytes]:
    """Requests with random histories, ready to be sent."""
    rng = np.random.default_rng(0)
    found = []
    for user in range(count):
        history = [items[i] for i in rng.integers(0, len(items), rng.integers(3, 31))]
        row = {"history": history, "user_id": f"user {user}"}  # which is logged with serving.log
        body = json.dumps({"inputs": [row], "params": {"k": 10}}).encode()
        head = f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        found.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


async def steady(args: argparse.Namespace, sent: list[bytes]) -> tuple[list[float], list[str]]:
    """Seconds of every request that was answered with 200, and what the others got."""
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(args.connections):
        idle.put_nowait(Connection(*await asyncio.open_connection(args.host, args.port)))
    latencies: list[float] = []
    errors: list[str] = []
    start = time.perf_counter()

    async def one(n: int) -> None:
        due = start + n / args.rate
        connection = await idle.get()
        try:
            status, body = await connection.ask(sent[n % len(sent)])
            if status == 200:
                latencies.append(time.perf_counter() - due)
            else:
                errors.append(f"{status}: {body[:200].decode()}")
        except (OSError, asyncio.IncompleteReadError) as error:
            errors.append(repr(error))
            connection = Connection(*await asyncio.open_connection(args.host, args.port))
        idle.put_nowait(connection)

    tasks = []
    for n in range(int(args.rate * args.seconds)):
        wait = start + n / args.rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(n)))
    await asyncio.gather(*tasks)
    return latencies, errors


async def one_at_a_time(args: argparse.Namespace, sent: list[bytes]) -> list[float]:
    """Seconds of requests that follow each other."""
    connection = Connection(*await asyncio.open_connection(args.host, args.port))
    took = []
    for request in sent:
        started = time.perf_counter()
        status, _ = await connection.ask(request)
        took.append(time.perf_counter() - started)
        assert status == 200
    return took


def show(name: str, latencies: list[float]) -> None:
    """One line of percentiles in milliseconds."""
    p50, p90, p99, top = 1000 * np.percentile(latencies, [50, 90, 99, 100])
    line = f"{name}: {len(latencies)} requests, p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms, max {top:.1f} ms"
    sys.stdout.write(line + "\n")


def main() -> None:
    """Exit status 1 where any request failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--items", type=Path, required=True)
    args = parser.parse_args()
    sent = requests(json.loads(args.items.read_text(encoding="utf-8")), args.host)
    show("one at a time", asyncio.run(one_at_a_time(args, sent)))
    started = time.perf_counter()
    latencies, errors = asyncio.run(steady(args, sent))
    rate = (len(latencies) + len(errors)) / (time.perf_counter() - started)
    show(f"{args.rate:g} a second ({rate:.1f} reached)", latencies)
    sys.stdout.write(f"errors: {len(errors)} {sorted(set(errors))[:3]}\n")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
