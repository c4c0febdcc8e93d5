"""Exceptions whose messages are for the user of the command line, and the exit code of a refusal."""

# Exit code of a refused promotion: it is not an error, but no alias has moved.
REFUSED_EXIT = 3


class InputError(ValueError):
    """An input of the user is wrong: a file, a column, a parameter or a value.

    The message names it, states the rule that it breaks and what to do. The command line prints only the message,
    without a traceback (`cli.py`).
    """


class EndedError(RuntimeError):
    """A process of this run has ended without a result, for example because the system killed it for its memory."""


class NothingToDo(Exception):  # noqa: N818
    """There is nothing to do for this run. It is not an error: the message gives the reason, and the exit code is 0."""
