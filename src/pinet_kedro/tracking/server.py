"""A tracking server that does not answer or refuses, in one sentence."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pinet_kedro.errors import InputError
from pinet_kedro.printable import public

# MLflow's codes for a server that fails, refuses the credentials, or is not the intended one. All other codes are about
# the request.
_OUTAGES = {
    "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "UNAUTHENTICATED",
    "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND", "NOT_FOUND",
}  # fmt: skip
# The folder of artifacts is full, read-only, or belongs to somebody else.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
# What is installed with an extra of this project, by module.
_EXTRAS = {"psycopg": "postgres", "boto3": "s3", "botocore": "s3"}


def is_outage(error: BaseException) -> bool:
    """Whether the server was not there, did not answer in time, failed, or refused the credentials."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code in _OUTAGES
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    if type(error).__module__.startswith(("botocore.", "boto3.")):
        return True
    return isinstance(error, RequestException | SQLAlchemyError | ConnectionError | TimeoutError)


@contextmanager
def sentence(uri: str, consequence: str) -> Iterator[None]:
    """Turns an outage or a refusal inside the block into one sentence for the user, followed by its consequence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except Exception as error:
        if is_outage(error) or isinstance(error, ModuleNotFoundError):  # the driver of a database
            says = "cannot be used"
        elif isinstance(error, MlflowException):  # something has been deleted meanwhile, say
            says = "refuses"
        else:
            raise
        raise InputError(f"The tracking server {public(uri)} {says}: {cause(error)}. {consequence}") from error


def cause(error: BaseException) -> str:
    """The last link of the chain that MLflow, requests and urllib3 wrap around an error, in at most 200 characters."""
    if isinstance(error, ModuleNotFoundError):
        extra = _EXTRAS.get(error.name or "")
        return f"{error}, which this address needs" + (f": pip install 'pinet-kedro[{extra}]'" if extra else "")
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"^\([\w.]+\) ", "", text)  # the driver's class, as SQLAlchemy puts it
    inner = re.search(r"Caused by \w+\(['\"](.*?)['\"]\)", text)
    if inner:
        text = inner[1].rpartition("): ")[2]
    return public(text)[:200].rstrip(". ")
