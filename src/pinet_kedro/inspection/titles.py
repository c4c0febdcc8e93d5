"""Items by title and id, wherever a person reads them."""

from difflib import get_close_matches

import pandas as pd

_SEARCHED = 20_000  # names: comparing a text with more of them takes seconds


class Titles:
    """Titles of items by raw id, from a table with `item_id` and `title`; none without a table."""

    def __init__(self, items: pd.DataFrame | None = None) -> None:
        named = None if items is None else items.dropna(subset=["title"])
        self._titles = {} if named is None else dict(zip(named["item_id"], named["title"], strict=True))

    def __bool__(self) -> bool:
        return bool(self._titles)

    def of(self, item: str) -> str | None:
        """The title, or None."""
        return self._titles.get(item)

    def shown(self, item: str) -> str:
        """The title with the id in brackets, such as 'Toy Story (1)', or the id alone."""
        title = self.of(item)
        return item if title is None else f"{title} ({item})"

    def nearest(self, text: str, known: list[str]) -> str:
        """'did you mean …? ' with the known item whose title or id resembles the text, or an empty text."""
        if len(known) > _SEARCHED:
            return ""
        titles = {self._titles[item].casefold(): item for item in known if item in self._titles}
        names = {item: item for item in known}
        near = get_close_matches(text, names, 1) or get_close_matches(text.casefold(), titles, 1)
        return f"did you mean {self.shown((names | titles)[near[0]])}? " if near else ""
