"""A call in a process of its own, while this process goes on with other work."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from pinet_kedro.errors import EndedError
from pinet_kedro.processes.workers import end_worker, start_worker


class Beside:
    """What a call in another process has sent so far, and in the end its result."""

    def __init__(self, process: SpawnProcess, receiver: Connection) -> None:
        self._process, self._receiver = process, receiver
        self._done, self._result = False, None

    @property
    def awaited(self) -> Connection | None:
        """The connection by which more will come; None after the result."""
        return None if self._done else self._receiver

    def messages(self, wait: bool = False) -> Iterator[Any]:
        """The messages that have arrived; with `wait`, all until the call has ended. Raises the call's error."""
        while not self._done and (wait or self._receiver.poll()):
            try:
                kind, value = pickle.loads(self._receiver.recv_bytes())
            except EOFError:
                self._process.join()
                raise EndedError(
                    f"a process of this run ended without a result (exit code {self._process.exitcode}); "
                    "the usual cause is a lack of memory"
                ) from None
            if kind == "error":
                raise value
            if kind == "result":
                self._done, self._result = True, value
            else:
                yield value

    def result(self) -> Any:
        """The result of the call, after its last message."""
        for _ in self.messages(wait=True):
            pass
        return self._result


class Several:
    """What several calls that need one another have sent, as it arrives, and in the end the result of the first."""

    def __init__(self, calls: Sequence[Beside]) -> None:
        self._calls = calls

    def messages(self, wait: bool = False) -> Iterator[Any]:
        """As `Beside.messages`: the first error of any of the calls is raised."""
        while True:
            for call in self._calls:
                yield from call.messages()
            awaited = [call.awaited for call in self._calls if call.awaited]
            if not wait or not awaited:
                return
            connection.wait(awaited)

    def result(self) -> Any:
        """The result of the first call, after the last message of all."""
        for _ in self.messages(wait=True):
            pass
        return self._calls[0].result()


@contextmanager
def beside(target: Callable[..., Any], *arguments: Any) -> Iterator[Beside]:
    """Starts `target(*arguments, send)` in a new process; `send(message)` sends to this one.

    The process is killed when the block ends, and ends with this process even if that is killed. Everything is sent as
    a plain pickle: tensors in shared memory would be lost with the process.
    """
    receiver, sender = connection.Pipe(duplex=False)
    with receiver:
        with sender:
            process = start_worker(_call, (target, arguments), sender)
        try:
            yield Beside(process, receiver)
        finally:
            end_worker(process)


def _call(target: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    def send(kind: str, value: Any) -> None:
        sender.send_bytes(pickle.dumps((kind, value), pickle.HIGHEST_PROTOCOL))

    try:
        result = target(*arguments, lambda message: send("message", message))
    except Exception as error:
        send("error", _portable(error))
    else:
        send("result", result)


def _portable(error: Exception) -> Exception:
    """The error itself, or its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
