"""A tracking server that does not answer, in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pinet_kedro.errors import InputError

# MLflow's codes for a server that fails, refuses the credentials, or is another server than one thinks. The others are
# about what was asked of it.
_OUTAGES = {
    "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "UNAUTHENTICATED",
    "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND", "NOT_FOUND",
}  # fmt: skip


def is_outage(error: BaseException) -> bool:
    """Whether the server was not there, did not answer in time, failed, or refused the credentials."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code in _OUTAGES
    return isinstance(error, RequestException | SQLAlchemyError | ConnectionError | TimeoutError)


@contextmanager
def sentence(uri: str, consequence: str) -> Iterator[None]:
    """Turns an outage inside the block into one sentence for the user, followed by what it means."""
    try:
        yield
    except Exception as error:
        if not is_outage(error):
            raise
        raise InputError(f"The tracking server {public(uri)} cannot be used: {cause(error)}. {consequence}") from error


def cause(error: BaseException) -> str:
    """The last link of the chain that MLflow, requests and urllib3 wrap around an error, in at most 200 characters."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    inner = re.search(r"Caused by \w+\(['\"](.*?)['\"]\)", text)
    if inner:
        text = inner[1].rpartition("): ")[2]
    return public(text)[:200].rstrip(". ")


def public(text: str) -> str:
    """The text without the user and password of an address."""
    return re.sub(r"://[^/@\s]+@", "://", text)
