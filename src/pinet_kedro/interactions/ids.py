"""One spelling per id, in every file format and in every request.

An id is text. A whole number has no decimal point: 7, 7.0 (an integer column with a null becomes floats) and '7.0' are
all '7'; '007' is another id. White space around an id is removed.
"""

import logging
import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pinet_kedro.errors import InputError

log = logging.getLogger(__name__)

# By the bits of a float: it holds every whole number below this power of 2; from there on, two may have become one.
_DIGITS = {16: 11, 32: 24, 64: 53}
_EXACT = 2 ** _DIGITS[64]
_WHOLE = r"^(-?(?:0|[1-9][0-9]*))\.0*$"
_EXPONENT = r"^[+-]?[0-9]+\.?[0-9]*[eE][+-]?[0-9]+$"
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+|nan|NaN|NAN|inf|Inf|INF|[Ii]nfinity)$"
_NOT_WHOLE = r"\.[0-9]*[1-9]|[Nn]|[Ii]"  # among values that match _NUMBER
_CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"
_WHOLE_PYTHON = re.compile(_WHOLE)
_BLOCK = 2**20
# Bytes of texts that may need another spelling, or may not be ids.
_SUSPECT = np.zeros(256, bool)
_SUSPECT[[*range(33), 127, ord("."), ord("+"), *range(128, 256)]] = True
_LETTERS = np.zeros(256, bool)
_LETTERS[[*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1)]] = True
_LETTERS_OF_NUMBERS = frozenset(b"naifntyNAIF")


def spell_ids(ids: Iterable[object]) -> list[str]:
    """The ids of a request, spelled as in the training data. Raises `InputError` for a value that is not an id."""
    return [_spelled(value) for value in ids]


def _spelled(value: object) -> str:
    if isinstance(value, str):
        text = value.strip()
        # The search for a point is quick, and most ids have none.
        return match[1] if "." in text and (match := _WHOLE_PYTHON.match(text)) else text
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    raise InputError(f"{str(value)[:60]!r} is not an id: an id is text or a whole number.")


def spell(ids: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """The ids as text; nulls stay null, and blank ids become null. `where` names file and column in messages.

    Raises `InputError` if a value is not an id, or has lost digits as a floating-point number.
    """
    kind = ids.type
    if isinstance(kind, pa.BaseExtensionType):
        ids = pa.chunked_array([chunk.storage for chunk in ids.chunks], kind.storage_type)
        kind = ids.type
    if pa.types.is_dictionary(kind):
        ids = ids.cast(kind.value_type)
        kind = ids.type
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return ids.cast(pa.string())
    if pa.types.is_floating(kind):
        return _whole(ids.cast(pa.float64()), kind.bit_width, where).cast(pa.string())
    if pa.types.is_decimal(kind):
        return _text(ids.cast(pa.string()), where)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text(ids, where)
    if kind in (pa.binary(), pa.large_binary(), pa.string_view()):
        try:
            return _text(ids.cast(pa.string()), where)
        except pa.ArrowInvalid:
            pass
    raise InputError(
        f"{where} holds values of type {kind}, which are not ids: an id is text or a whole number. Name another "
        "column, or write the ids as text."
    )


def _whole(ids: pa.ChunkedArray, bits: int, where: str) -> pa.ChunkedArray:
    """Floats as integers; `bits`: of the column's own type."""
    values = ids.to_numpy(zero_copy_only=False)
    given = ids.is_valid().to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        wrong = given & ~((values == np.floor(values)) & (np.abs(values) < 2 ** _DIGITS[bits]))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{where}, row {row + 1}: {values[row]:.17g} is not an id: an id is text or a whole number, and a "
            f"floating-point number of {bits} bits has lost digits from 2^{_DIGITS[bits]} on. Name the column of ids, "
            "or write it as text or integers."
        )
    return ids.cast(pa.int64())


def _text(ids: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    found = _bytes(ids)
    letters = frozenset(np.flatnonzero(found & _LETTERS).tolist())
    if not (found & _SUSPECT).any() and (not letters or letters - _LETTERS_OF_NUMBERS):
        return pc.if_else(pc.equal(ids, ""), None, ids) if pc.any(pc.equal(ids, "")).as_py() else ids
    encoded = ids.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # one array holds at most 2 GB of text
        encoded = encoded.unify_dictionaries()
    parts = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    if not parts:
        return ids
    raw = parts[0].dictionary
    trimmed = pc.utf8_trim_whitespace(raw)

    def refuse(wrong: pa.Array, why: str) -> None:
        if pc.any(wrong).as_py():
            code = pc.index(wrong, True).as_py()
            row = pc.index(pa.chunked_array([part.indices for part in parts]), code).as_py()
            raise InputError(f"{where}, row {row + 1}: {raw[code].as_py()[:60]!r} is not an id: {why}")

    def match(pattern: str) -> pa.Array:
        return pc.match_substring_regex(trimmed, pattern)

    refuse(match(_CONTROL), "it contains a line break or another control character. Is a quotation mark not closed?")
    lost = "it lost digits as a floating-point number. Write ids as text or as integers."
    refuse(pc.and_(match(_EXPONENT), match(r"[.+]")), lost)
    beyond = [text is not None and _beyond(text) for text in pc.if_else(match(_WHOLE), trimmed, None).to_pylist()]
    refuse(pa.array(beyond, pa.bool_()), lost)
    blank = pc.equal(trimmed, "")
    if pc.all(pc.or_(match(_NUMBER), blank)).as_py():
        refuse(match(_NOT_WHOLE), "all values are numbers, but this one is not whole. Name the column of ids.")
    spelled = pc.if_else(blank, None, pc.replace_substring_regex(trimmed, _WHOLE, r"\1"))
    _warn_of_several_spellings(raw, spelled, where)
    return pa.chunked_array([spelled.take(part.indices) for part in parts], spelled.type)


def _beyond(whole: str) -> bool:
    return abs(int(whole.partition(".")[0])) >= _EXACT


def _bytes(ids: pa.ChunkedArray) -> np.ndarray:
    """True for the bytes that occur in the texts (bool, 256)."""
    found = np.zeros(256, bool)
    for chunk in ids.chunks:
        if (buffer := chunk.buffers()[2]) is None:
            continue
        data = np.frombuffer(buffer, np.uint8)
        for start in range(0, len(data), _BLOCK):
            found |= np.bincount(data[start : start + _BLOCK], minlength=256) > 0
    return found


def _warn_of_several_spellings(raw: pa.Array, spelled: pa.Array, where: str) -> None:
    names = spelled.drop_null()
    counts = names.value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        first = raw.filter(pc.fill_null(pc.equal(spelled, twice[0]), False)).to_pylist()
        spellings = " and ".join(repr(name[:40]) for name in first[:2])
        log.warning(
            "%s: %d ids are written in more than one way, such as %s; each counts as one id.",
            where, len(twice), spellings,
        )  # fmt: skip
