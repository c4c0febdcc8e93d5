"""Why an item is recommended, in words."""

from pinet_kedro.explanation import ExplainedItem, Explanation
from pinet_kedro.inspection.titles import Titles

_MOST = 2  # reasons in a sentence
_WORDS = {
    "backbone": "the backbone expects it next",
    "factors": "users with similar items have it",
    "categories": "of categories that the history has",
    "popularity": "popular",
    "recency": "taken lately",
    "change of state": "the plugin's change of the user's state",
}


def in_words(explanation: Explanation, explained: ExplainedItem, titles: Titles) -> str:
    """The largest contributions above those to the average item, such as 'follows Toy Story (1) +2.1, popular +0.8'."""
    above = [(name, value) for name, value in explanation.above_average(explained).items() if round(value, 1) > 0]
    texts = [f"{_word(name, explained, titles)} {signed(value)}" for name, value in above[:_MOST]]
    return ", ".join(texts) or "no contribution is above that to the average item"


def signed(value: float) -> str:
    """A contribution with its sign and one decimal, such as '−0.3'."""
    return f"{value:+.1f}".replace("-", "−")


def _word(name: str, explained: ExplainedItem, titles: Titles) -> str:
    if name == "memory" and explained.because is not None:
        return f"often near {titles.shown(explained.because[0])}"
    return _WORDS.get(name, name)
