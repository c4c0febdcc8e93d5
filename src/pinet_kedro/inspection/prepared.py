"""The prepared data of the project, for commands that look up users and items by their raw ids."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pinet_kedro.configuration import did_you_mean
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.manifests import MixedError, content_hash, merged
from pinet_kedro.errors import InputError
from pinet_kedro.inspection.titles import Titles
from pinet_kedro.interactions.ids import spell_ids
from pinet_kedro.project import project_folder, short_path

_AGAIN = "kedro run --pipeline=activeness_stratification (or everything: --pipeline=full)"
_SEARCHED = 20_000  # users whose ids are compared with an unknown one


@dataclass(frozen=True)
class PreparedData:
    """What the data stages have stored: histories by user, and titles."""

    catalog: Any

    def titles(self) -> Titles:
        """Titles of the items of the log; none where the table is not stored."""
        if not self.catalog.get("items").exists():
            return Titles()
        self._require_intact("items")
        return Titles(self.catalog.load("items"))

    def history(self, user: str) -> list[str]:
        """Raw item ids of all events of a user, oldest first. Raises `InputError` for an unknown user."""
        self._require_intact("users", "dataset")
        ids: pd.Series = self.catalog.load("users")["user_id"]
        wanted = spell_ids([user])[0]
        found = ids.index[ids == wanted]
        if found.empty:
            hint = did_you_mean(wanted, ids) if len(ids) <= _SEARCHED else ""
            raise InputError(
                f"there is no user {wanted!r} in {self._place('users')}; {hint}it has the {len(ids):,} users that are "
                "left after cleaning. For another history: --history=id,id,…"
            )
        start, end = self.dataset.sequences.offsets[found[0] : found[0] + 2]
        return self.dataset.item_ids[self.dataset.sequences.items[start:end] - 1].tolist()

    @cached_property
    def dataset(self) -> Dataset:
        """The histories, as stored: `history` checks them."""
        return self.catalog.load("dataset")

    def _require_intact(self, *names: str) -> None:
        """Raises `InputError` unless these datasets are there, as they were stored, and of one log."""
        lineages = []
        for name in names:
            if not self.catalog.get(name).exists():
                raise InputError(f"{self._place(name)} is not there: run {_AGAIN} first, or use --history=id,id,…")
            manifest = self.catalog.get(name).manifest()
            if manifest.content != content_hash(self._path(name)):
                raise InputError(f"{self._place(name)} is not what its manifest describes. Make it again: {_AGAIN}.")
            lineages.append(manifest.entries())
        try:
            merged(lineages)
        except MixedError as error:
            raise InputError(f"{error}. Make them again: {_AGAIN}.") from error

    def _path(self, name: str) -> Path:
        return Path(self.catalog.get(name)._filepath)

    def _place(self, name: str) -> str:
        return short_path(self._path(name))


def read_prepared(env: str | None) -> PreparedData:
    """The prepared data of an environment."""
    from kedro.framework.session import KedroSession

    with KedroSession.create(project_folder(), env=env) as session:
        return PreparedData(session.load_context().catalog)  # type: ignore[attr-defined]
