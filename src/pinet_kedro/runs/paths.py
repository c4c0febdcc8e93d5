"""Where the datasets of a catalog are stored."""

from pathlib import Path

from kedro.io import CatalogProtocol


def stored_path(catalog: CatalogProtocol, name: str) -> Path | None:
    """The file or folder of a dataset; None for one in memory."""
    path = getattr(catalog.get(name), "_filepath", None) if name in catalog else None
    return Path(path) if path else None
