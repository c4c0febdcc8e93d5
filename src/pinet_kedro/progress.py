"""Progress of long work: a bar on a terminal, and a line of the log now and then where there is none."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("pinet_kedro")

_LOG_EVERY_S = 10.0  # where no terminal shows a bar, which would write its line over and over into a log file


@contextmanager
def show_progress(title: str, total: int | None, unit: str, before: int = 0) -> Iterator[Callable[..., object]]:
    """A function to call with what has been done since its last call; `total` is None where it is not known,
    and `before` had been done before.

    A second argument, what this was, is shown beside the bar, and is worth a line of the log of its own. Bytes (unit
    "B") are shown as MB.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm  # not needed at start-up

        with tqdm(total=total, initial=before, desc=title, unit=unit, unit_scale=unit == "B") as bar:

            def move(amount: int, what: str = "") -> None:
                if what:
                    bar.set_postfix_str(what, refresh=False)
                bar.update(amount)

            yield move
        return

    def shown(amount: int) -> str:
        return f"{amount / 1e6:,.1f}" if unit == "B" else f"{amount:,}"

    done, logged = before, time.monotonic()

    def update(amount: int, what: str = "") -> None:
        nonlocal done, logged
        done += amount
        if what or time.monotonic() - logged >= _LOG_EVERY_S:
            of = f" of {shown(total)}" if total else ""
            log.info("%s: %s%s %s%s", title, shown(done), of, "MB" if unit == "B" else unit, what and f", {what}")
            logged = time.monotonic()

    yield update
