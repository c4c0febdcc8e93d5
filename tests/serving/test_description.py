"""The description of the server is that of the requests which it accepts, and of the answers which it gives."""

import json
from types import SimpleNamespace

import pytest

from pinet_kedro.scoring_server.body import parse_body, request_type
from pinet_kedro.scoring_server.description import Description
from pinet_kedro.scoring_server.guard import _METHODS
from pinet_kedro.scoring_server.messages import RequestError
from pinet_kedro.serving.config import Limits
from pinet_kedro.serving.served_model import Recommendation, Request

LIMITS = Limits(history=5, exclude=4, only=6, categories=3, k=7, id_length=9, rows=2)
BODY = request_type(SimpleNamespace(**LIMITS.model_dump()))
DESCRIPTION = Description(BODY, SimpleNamespace(**LIMITS.model_dump()), {"3": None})
SCHEMAS = DESCRIPTION.openapi["components"]["schemas"]


def accepts(body):
    try:
        parse_body(json.dumps(body).encode(), BODY)
    except RequestError:
        return False
    return True


def with_field(part, field, value):
    row = {"history": ["1"]}
    return {"inputs": [row | {field: value}]} if part == "Row" else {"inputs": [row], "params": {field: value}}


def kinds(schema):
    """The alternatives of a schema."""
    return [kind for one in schema["anyOf"] for kind in kinds(one)] if "anyOf" in schema else [schema]


def values(schema):
    """`(value, whether the schema allows it)` at the borders of a schema."""
    for kind in kinds(schema):
        if kind["type"] == "null":
            yield None, True
        elif kind["type"] == "array":
            item = next(value for value, allowed in values(kind["items"]) if allowed)
            for more in (0, 1):
                yield [item] * (kind["maxItems"] + more), not more
            for value, allowed in values(kind["items"]):
                yield [value], allowed
        elif kind["type"] == "string":
            for more in (0, 1):
                yield "1" * (kind["maxLength"] + more), not more
        elif kind["type"] == "boolean":
            yield from ((True, True), ("true", False), (1, False))
        elif "minimum" in kind:
            yield from ((kind["minimum"], True), (kind["maximum"], True))
            yield from ((kind["minimum"] - 1, False), (kind["maximum"] + 1, False))
        else:
            yield from ((17, True), (True, False), (2.5, kind["type"] == "number"))
    if not any(kind["type"] == "null" for kind in kinds(schema)):
        yield None, False
    yield {"a": 1}, False


FIELDS = [(part, field) for part in ("Row", "Params") for field in SCHEMAS[part]["properties"]]


@pytest.mark.parametrize(("part", "field"), FIELDS)
def test_the_schema_of_a_field_allows_what_is_accepted(part, field):
    for value, allowed in values(SCHEMAS[part]["properties"][field]):
        assert accepts(with_field(part, field, value)) == allowed, value


@pytest.mark.parametrize("part", ["Row", "Params"])
def test_fields_that_are_not_described_are_refused(part):
    assert SCHEMAS[part]["additionalProperties"] is False
    assert not accepts(with_field(part, "other", 1))
    assert not accepts({"inputs": [{"history": ["1"]}], "other": 1})
    assert SCHEMAS["Row"]["required"] == ["history"]
    assert not accepts({"inputs": [{"k": 1}]})


def test_the_fields_of_a_request_are_those_of_the_served_model():
    assert set(SCHEMAS["Row"]["properties"]) == set(Request.model_fields)


def test_the_fields_of_an_answer_are_those_of_the_served_model():
    served = Recommendation.model_json_schema()
    for ours, theirs in ((SCHEMAS["Answer"], served), (SCHEMAS["Explained"], served["$defs"]["Explained"])):
        assert set(ours["properties"]) == set(theirs["properties"])
        # Versions of earlier releases answer without some.
        assert set(theirs["required"]) - set(ours["required"]) <= {"unknown_items", "fallback"}


def test_every_field_has_a_description_and_every_value_an_example():
    for name, schema in SCHEMAS.items():
        assert schema["description"], name
        for field, known in schema["properties"].items():
            assert known["description"], field
            if name in ("Row", "Params"):
                [example] = known["examples"]
                large = Limits().model_dump()
                body = json.dumps(with_field(name, field, example)).encode()
                assert parse_body(body, request_type(SimpleNamespace(**large)))


def test_the_examples_are_requests_in_every_form_of_the_schema():
    content = DESCRIPTION.openapi["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]
    large = request_type(SimpleNamespace(**Limits().model_dump()))
    for example in content["examples"].values():
        assert parse_body(json.dumps(example["value"]).encode(), large)
    row = {"history": ["1"]}
    tables = {"dataframe_split": {"columns": ["history"], "data": [[["1"]]]}}
    for form in content["schema"]["oneOf"][1:]:
        [name] = form["required"]
        assert accepts({name: tables.get(name, [row]), "params": {"k": 2}})
    assert len(content["schema"]["oneOf"]) == 4


def test_all_addresses_are_described():
    found = {path: next(iter(methods)).upper() for path, methods in DESCRIPTION.openapi["paths"].items()}
    assert found == _METHODS


def test_what_an_earlier_version_does_not_take_is_noted():
    known = {"inputs": frozenset({"history", "k", "exclude", "user_id"}), "params": frozenset({"k", "exclude_seen"})}
    shown = Description(BODY, DESCRIPTION.limits, {"2": known, "3": None}).openapi["components"]["schemas"]
    noted = {
        f
        for p in ("Row", "Params")
        for f, k in shown[p]["properties"].items()
        if "Not for version 2" in k["description"]
    }
    assert noted == {"only", "categories", "not_categories", "min_categories", "times", "explain"}


def test_the_page_shows_every_field_and_loads_nothing():
    kind, body = DESCRIPTION.page("/docs")
    page = body.decode()
    assert kind == b"text/html; charset=utf-8"
    for schema in SCHEMAS.values():
        for field, known in schema["properties"].items():
            assert f"<code>{field}</code>" in page
            assert known["description"][:20].replace('"', "&#34;").replace("'", "&#39;") in page
    assert "default-src &#39;none&#39;" in page
    assert not any(word in page for word in ("<script", "src=", "http:", "https:", "@import", "url("))
    assert json.loads(DESCRIPTION.page("/openapi.json")[1]) == DESCRIPTION.openapi
