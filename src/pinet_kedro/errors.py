"""The exception whose message is meant for the person who typed the command, and what a refusal ends with."""

# Exit code of a promotion that is refused: no error, but nothing has moved.
REFUSED_EXIT = 3


class InputError(ValueError):
    """Something that the user gave cannot be used: a file, a column, a parameter, a value.

    The message names it, states the rule that it breaks and says what to do. The command line prints it alone,
    without a traceback (`cli.py`).
    """


class NothingToDo(Exception):  # noqa: N818
    """There is no work for this run, which is no error: the message says why, and the exit code is 0."""
