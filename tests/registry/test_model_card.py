"""The model card: its figures are those of the evaluation and the manifest."""

from pinet_kedro.registry.model_card import LONGEST, model_card, with_decision

GAIN = {"relative": 0.2, "low": 0.1, "high": 0.3}
DAY = 86_400 * 10**9
GROUPS = ("all", "tail", "head")


def reading(base, pin):
    return {
        "models": {name: {of: {"ndcg_at_10": ndcg} for of in GROUPS} for name, ndcg in (("base", base), ("pin", pin))},
        "comparisons": {"pin_vs_base": {group: {"ndcg_at_10": GAIN} for group in GROUPS}},
    }


EVALUATION = reading(0.1, 0.12) | {
    "as_shipped": reading(0.13, 0.14),
    "backbone_choice": {"backbone": "joint", "reason": "configured"},
    "protocol": {"head": "31+ events"},
    "data": {
        "name": "shop.csv", "sha256": "abcdef0123456789", "users": 4321, "items": 99, "events": 54_321,
        "test_targets": 3210, "oldest_event": 18_000 * DAY,
        "newest_event": {"training": 18_100 * DAY, "before_test": 18_200 * DAY, "all": 18_300 * DAY},
    },
}  # fmt: skip
MANIFEST = {
    "configuration": {
        "backbone_training": {
            "seed": 7, "backbone": {"name": "din"}, "aggregation": {"rule": "deconfounded", "strength": 0.1}
        }
    },
    "code": {"version": "1.2", "git": "c0ffee", "source": "beef"}, "environment": "shop",
}  # fmt: skip


def test_the_card_holds_data_period_figures_backbone_code_and_limits():
    card = model_card(EVALUATION, MANIFEST, exclude_seen=True)
    for part in (
        "din, seed 7, shop.csv until 2020-02-08",
        "of 3,210 users",
        "0.1000", "0.1200", "0.1300", "0.1400",
        "+20.0 % [+10.0, +30.0]",
        "sha256 `abcdef012345`, 2019-04-14 to 2020-02-08",
        "4,321 users, 99 items, 54,321 events",
        "Head users: 31+ events",
        "deconfounded, λ = 0.1. PIN stands on the joint backbone, as registration.backbone says.",
        "has learnt events until 2020-02-08. Promotion judges a second model",
        "until 2019-10-31",
        "pinet-kedro 1.2, git c0ffee, source beef; environment shop",
        "Items of the history are never recommended.",
        "No experiment with users has been made.",
        "None yet: the version waits for",
    ):  # fmt: skip
        assert part in card, part
    assert len(card) < LONGEST


def test_without_a_refit_the_card_has_one_reading_and_one_model():
    card = model_card(EVALUATION | {"as_shipped": None}, MANIFEST, exclude_seen=False)
    assert "final training" not in card
    assert "until 2019-07-23. Promotion judges the same model." in card


def test_the_card_says_when_the_two_readings_disagree():
    gains = {of: {"ndcg_at_10": {"relative": 0.1, "low": -0.2, "high": 0.3}} for of in GROUPS}
    after = reading(0.13, 0.14) | {"comparisons": {"pin_vs_base": gains}}
    assert "the same rule says" not in model_card(EVALUATION, MANIFEST, exclude_seen=True)
    told = model_card(EVALUATION | {"as_shipped": after}, MANIFEST, exclude_seen=True)
    assert "After the final training, the same rule says “Do not ship PIN”" in told


def test_items_without_events_are_named_where_there_are_any():
    told = "7 of the items are known from the table of items alone"
    assert told not in model_card(EVALUATION, MANIFEST, exclude_seen=True)
    data = EVALUATION["data"] | {"items_without_events": 7}
    assert told in model_card(EVALUATION | {"data": data}, MANIFEST, exclude_seen=True)


def test_a_log_without_a_clock_has_positions():
    data = EVALUATION["data"] | {"oldest_event": 0, "newest_event": {"training": 5, "before_test": 6, "all": 7}}
    assert ", event 0 to event 7" in model_card(EVALUATION | {"data": data}, MANIFEST, exclude_seen=True)


def test_decisions_are_listed_once_each_and_the_card_gives_way_to_them():
    card = model_card(EVALUATION, MANIFEST, exclude_seen=True)
    one = with_decision(card, "refused 2026-01-01")
    two = with_decision(with_decision(one, "promoted 2026-01-02"), "promoted 2026-01-02")
    assert two == card.partition("None yet")[0] + "- refused 2026-01-01\n- promoted 2026-01-02\n"
    for n in range(100):
        two = with_decision(two, f"refused number {n:03}" + "x" * 90)
    assert len(two) <= LONGEST
    assert two.startswith("din, seed 7")
    assert two.count("- refused number") == 25
    assert "number 099" in two
    assert with_decision(None, "promoted") == "## Decisions\n\n- promoted\n"
