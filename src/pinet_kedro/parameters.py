"""Parameters as plain dictionaries: for storage, comparison and logging."""

from typing import Any

from pydantic import BaseModel


def plain(value: Any) -> Any:
    """The parameters with every typed model as a dictionary."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as one dictionary with dotted names."""
    out: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            out |= flat(entry, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = entry
    return out
