"""Files of expectations, read and checked: a rule that would check nothing is refused, never skipped.

Great Expectations logs a rule that it does not know and goes on without it. Therefore every rule is built once before
any data are read, and anything that could make it check nothing is a `SuiteError` that names file, table and rule.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.validation.exceptions import DataValidationError

from pinet_kedro.errors import InputError
from pinet_kedro.project import project_folder

# Columns of the tables that a suite may check; those of events come from the user's reader, which may add some.
TABLES: dict[str, set[str]] = {
    "events": {"user_id", "item_id", "timestamp", "rating"},
    "users": {"user_id", "activeness"},
    "strata": {"stratum", "users", "events"},
}
_KINDS = {"clock", "log"}  # of data, for `only_for`
_PARAMETERS = {"now"}
# Arguments without which, or with an empty one, the rules that take them hold whatever the data are.
_NEEDED = {"value_set", "type_list", "column_set", "column_list", "regex", "like_pattern"}
_SUITE = {"name", "meta", "expectations", "notes", "id"}
_RULE = {"type", "kwargs", "description", "notes", "meta", "severity", "id"}

# Data that every run must check, and when; those of retraining have the same names behind its namespace.
_GATED = {"raw_interactions": "load", "all_interactions": "load", "clean_events": "save"}
_GATES = ("pinet_kedro.validation.gate.ExpectationGate", "pinet_kedro.engines.gate.EngineGate")


class ValidationFailedError(DataValidationError, InputError):
    """Data that break a rule. Kedro itself would cut the message at 500 characters."""

    def __str__(self) -> str:
        return self.message


class SuiteError(ValidationFailedError):
    """A file of expectations that cannot be used, whatever the data are."""


def read_suites(name: str) -> dict[str, dict[str, Any]]:
    """Suites by table, of a file in the project's folder; raises `SuiteError` where one would check nothing."""
    path = project_folder() / name
    try:
        suites = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path} is no readable file of expectations: {error}") from error
    if not isinstance(suites, dict) or not suites:
        raise SuiteError(f"{path} must hold suites for some of the tables {', '.join(TABLES)}.")
    _known(suites, TABLES, f"{path}: there is no table")
    for table, suite in suites.items():
        _check_suite(suite, table, f"{path}, {table}")
    return suites


def columns_of(kwargs: dict[str, Any]) -> list[str]:
    """The columns that a rule with these arguments reads."""
    named = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    return [*kwargs.get("column_list", ()), *kwargs.get("column_set", ()), *named]


def check_gates(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuses a pipeline that would not check its data, or by a suite that cannot be used."""
    specs = getattr(catalog, "validator_specs", {})
    used = {"load": pipeline.all_inputs(), "save": pipeline.all_outputs()}
    for name in sorted(pipeline.datasets()):
        spec, mode = specs.get(name), _GATED.get(name.rpartition(".")[2])
        if mode and name in used[mode] and (spec is None or mode not in spec.on or not spec.enabled):
            raise InputError(
                f"'{name}' of the catalog has no gate on {mode}: these data would not be checked. An environment that "
                f"names the dataset replaces the whole entry of conf/base/catalog.yml: give it the `validator` there."
            )
        if spec is not None and spec.class_path in _GATES and spec.enabled:
            read_suites(spec.options.get("suite", ""))


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The object; refuses two entries of one name, of which JSON would keep only the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"'{key}' is there twice in one object")
        found[key] = value
    return found


def _known(given: Iterable[str], known: Iterable[str], what: str) -> None:
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(sorted(known))}."
            raise SuiteError(f"{what} '{name}'. {hint}")


def _check_suite(suite: Any, table: str, place: str) -> None:
    if not isinstance(suite, dict):
        raise SuiteError(f"{place} must be a suite: an object with name and expectations.")
    _known(suite, _SUITE, f"{place}: a suite has no")
    rules = suite.get("expectations")
    if not isinstance(rules, list) or not rules:
        raise SuiteError(f"{place} has no expectations: it would check nothing. Add rules, or remove the table.")
    if not isinstance(suite.get("name"), str) or not isinstance(suite.get("meta", {}), dict):
        raise SuiteError(f"{place} needs a name, and its meta must be an object.")
    for number, rule in enumerate(rules, 1):
        kind = rule.get("type") if isinstance(rule, dict) else None
        here = f"{place}, rule {number}{f' ({kind})' if kind else ''}"
        if kind is None or not isinstance(rule.get("kwargs"), dict) or not isinstance(rule.get("meta") or {}, dict):
            raise SuiteError(f"{here} must be an object with a type and kwargs, and meta, if given, an object.")
        _check_rule(rule, table, here)


def _check_rule(rule: dict[str, Any], table: str, here: str) -> None:
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    kwargs = rule["kwargs"]
    _known(rule, _RULE, f"{here}: a rule has no")
    _known([rule["type"]], list_registered_expectation_implementations(), f"{here}: there is no expectation")
    asked = _NEEDED & kwargs.keys() | ({"type_list"} if rule["type"].endswith("_in_type_list") else set())
    if empty := sorted(name for name in asked if not kwargs.get(name)):
        raise SuiteError(f"{here} has no {empty[0]}: it would check nothing. Say what is asked, or remove the rule.")
    columns = columns_of(kwargs)
    if table != "events":
        _known(columns, TABLES[table], f"{here}: the table has no column")
    meta = rule.get("meta") or {}
    if misspelt := get_close_matches("only_for", set(meta) - {"only_for"}, 1):
        raise SuiteError(f"{here}: '{misspelt[0]}' in meta is not a known key. Did you mean 'only_for'?")
    if "only_for" in meta:
        known = _KINDS | TABLES["events"] | set(columns)
        _known([meta["only_for"]], known, f"{here}: only_for names a kind of data or a column, not")
    for value in kwargs.values():
        if isinstance(value, dict) and "$PARAMETER" in value:
            _known([value["$PARAMETER"]], _PARAMETERS, f"{here}: there is no parameter")
    if kwargs.get("mostly") == 0:
        raise SuiteError(f"{here}: mostly = 0 holds whatever the data are. Give a share above 0, or remove the rule.")
    if rule["type"].endswith("_to_be_between") and "quantile" not in rule["type"]:
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        if low is None and high is None:
            raise SuiteError(f"{here} has neither min_value nor max_value: it would check nothing.")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise SuiteError(f"{here}: min_value {low} is above max_value {high}: no value can be between them.")
    _build(rule, here)


def _build(rule: dict[str, Any], here: str) -> None:
    """Makes the rule as Great Expectations will, whose models refuse arguments that they do not know."""
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        ExpectationConfiguration(**rule).to_domain_obj()
    except (GreatExpectationsError, TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        errors = getattr(error, "errors", None)
        found = errors() if callable(errors) else [{"loc": (), "msg": str(error)}]
        complaints = [": ".join(map(str, [*(at for at in e["loc"] if at != "__root__"), e["msg"]])) for e in found]
        raise SuiteError(f"{here} cannot be used: {'; '.join(complaints)[:300]}.") from error
