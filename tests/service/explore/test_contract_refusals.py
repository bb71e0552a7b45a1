"""What is not served is refused with its documented code and one sentence, and never with a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.explore import JsonObject, Lab, duplicates, issue, labels, refusal, tags, text, uniqueness

NOBODY = "b9eeab12-2b10-4956-a8bf-f8b8fabf32bf"


@pytest.fixture(scope="module", autouse=True)
def unharmed(lab: Lab) -> Iterator[None]:
    """After all of it, the server answers, and nothing in its log says that it failed."""
    yield
    assert lab.ann.explore(lab.dataset, [duplicates(0.95)])["clusters"]
    failed = [line for line in lab.server.lines() if line.get("status", 0) >= 500 or line["level"] == "ERROR"]
    assert failed == []


# -- vql -------------------------------------------------------------------------------------------

NOT_VQL = {
    "no JSON": "duplicates>0.95",
    "JSON that breaks off": '[{"duplicates":',
    "two values": "[][]",
    "an object": '{"duplicates":{"op":"duplicates","value":0.95}}',
    "a number": "5",
    "null": "null",
    "null as a filter": "[null]",
    "an array as a filter": "[[]]",
    "text as a filter": '["duplicates"]',
    "no filter": "[{}]",
    "an id alone": '[{"id":"1"}]',
    "an id that is no text": '[{"id":1,"duplicates":{"op":"duplicates","value":0.95}}]',
    "two filters in one": json.dumps([duplicates(0.9) | uniqueness(0.5)]),
    "a key twice": '[{"duplicates":{"op":"duplicates","value":0.1,"value":0.95}}]',
    "no body": '[{"duplicates":null}]',
    "a number as a body": '[{"duplicates":0.95}]',
    "no op": '[{"duplicates":{"value":0.95}}]',
    "no value": '[{"duplicates":{"op":"duplicates"}}]',
    "an op that is no text": '[{"duplicates":{"op":["duplicates"],"value":0.95}}]',
    "single quotes": "[{'duplicates':{'op':'duplicates','value':0.95}}]",
    "a comment": '[/* */{"duplicates":{"op":"duplicates","value":0.95}}]',
    "a deep nest": "[" * 5000 + "]" * 5000,
    "a deep value": '[{"labels":{"op":"one_of","value":' + "[" * 20 + "]" * 20 + "}}]",
    "101 filters": json.dumps([duplicates(0.5)] * 101),
    "long numbers": '[{"duplicates":{"op":"duplicates","value":' + "9" * 5000 + "}}]",
    "NUL": '[{"labels":{"op":"one_of","value":["a\\u0000"]}}]',
    "half a surrogate pair": '[{"labels":{"op":"one_of","value":["\\ud800"]}}]',
}


@pytest.mark.parametrize("vql", NOT_VQL.values(), ids=NOT_VQL.keys())
def test_what_is_no_vql(lab: Lab, vql: str) -> None:
    detail = refusal(lab.ann.ask(lab.dataset, vql), 422)
    assert detail.startswith("vql") and len(detail) < 400 and "\n" not in detail


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("vql=%FF%FE", "vql"),
        ("vql=%5B%7B", "vql"),
        ("vql=[]&vql=[{}]", "vql"),
        ("vql=" + "%5B" * 20_000, "vql"),
    ],
)
def test_vql_that_no_client_library_sends(lab: Lab, query: str, named: str) -> None:
    assert refusal(lab.ann.get(f"/explore/{lab.dataset}?{query}"), 422).startswith(named)


UNKNOWN: dict[str, tuple[JsonObject, str]] = {
    "a filter": ({"folders": {"op": "is", "value": "a"}}, "'folders'"),
    "a filter of another case": ({"Duplicates": {"op": "duplicates", "value": 0.9}}, "'Duplicates'"),
    "an op of duplicates": ({"duplicates": {"op": "above", "value": 0.9}}, "vql[0].duplicates.op"),
    "an op of uniqueness": ({"uniqueness": {"op": "duplicates", "value": 0.9}}, "vql[0].uniqueness.op"),
    "an op of text": (text("dog", op="like"), "vql[0].text.op"),
    "an op of labels": (labels("dog", op="in"), "vql[0].labels.op"),
    "an op of tags": ({"tags": {"op": "one_of", "value": [NOBODY]}}, "vql[0].tags.op"),
    "an op of issues": ({"issues": {"op": "is", "value": "blur"}}, "vql[0].issues.op"),
    "a key of duplicates": (
        {"duplicates": {**duplicates(0.9)["duplicates"], "linkage": "star"}},
        "'linkage'",
    ),
    "a key of words": (text("dog", op="fts", threshold=0.5), "'threshold'"),
    "a key of issues": (issue("blur", threshold=0.5), "'threshold'"),
    "a mode": (issue("blur", mode="only"), "vql[0].issues.mode"),
}


@pytest.mark.parametrize(("filter_", "named"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_unknown_is_named(lab: Lab, filter_: JsonObject, named: str) -> None:
    assert named in refusal(lab.ann.ask(lab.dataset, [filter_]), 422)


NO_FRACTIONS: list[Any] = [True, None, "0.9", [0.9], {}, -0.1, 1.000001, 2, 95, 1e300]
WRONG: list[tuple[JsonObject, str]] = [
    *((make(value), "value") for make in (duplicates, uniqueness) for value in NO_FRACTIONS),
    (labels(), "value"),
    ({"labels": {"op": "one_of", "value": "cat"}}, "value"),
    ({"labels": {"op": "one_of", "value": [1]}}, "value[0]"),
    ({"labels": {"op": "one_of", "value": ["cat", ""]}}, "value[1]"),
    (tags("review"), "value[0]"),
    (tags(), "value"),
    ({"tags": {"op": "is", "value": NOBODY}}, "value"),
    (text(""), "value"),
    (text(" "), "value"),
    ({"text": {"op": "semantic", "value": 5}}, "value"),
    (text("dog", threshold=1.5), "threshold"),
    (text("dog", threshold="0.5"), "threshold"),
    (issue("blur", confidence_min=2), "confidence_min"),
    (issue("blur", confidence_min=0.9, confidence_max=0.8), "confidence_max"),
    ({"similarity": {"op": "upload", "value": "me"}}, "value"),
]


@pytest.mark.parametrize(("filter_", "named"), WRONG, ids=lambda value: str(value)[:60])
def test_values_that_are_not_served(lab: Lab, filter_: JsonObject, named: str) -> None:
    (name,) = filter_
    assert refusal(lab.ann.ask(lab.dataset, [filter_]), 422).startswith(f"vql[0].{name}.{named} takes ")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_has_not(lab: Lab, constant: str) -> None:
    vql = f'[{{"duplicates":{{"op":"duplicates","value":{constant}}}}}]'
    assert refusal(lab.ann.ask(lab.dataset, vql), 422).startswith("vql")


# -- other parameters ------------------------------------------------------------------------------

PARAMETERS: list[tuple[str, str]] = [
    *(
        ("duplicate_threshold", value)
        for value in ("-0.1", "1.01", "95", "NaN", "nan", "inf", "1e999", "high")
    ),
    *(("duplicate_threshold", value) for value in ("0,95", "0x1", "٠", "[0.9]", "true", "9" * 5000)),
    *(("entity_type", value) for value in ("OBJECTS", "VIDEOS", "images", "IMAGE", "BOTH")),
    *(("linkage", value) for value in ("average", "COMPLETE")),
    *(("textual_similarity_threshold", value) for value in ("-1", "2", "NaN", "low")),
    *(
        ("tags", value)
        for value in ("review", "[review]", '["review"]', "[]", "{}", '["a"', "Untagged", "null5")
    ),
    *(("labels", value) for value in ('["a"', "[]", '["a",1]', "['a']", '{"a":1}', '[["a"]]', '"a"', "\0")),
    ("anchor_media_id", NOBODY),
    ("anchor_type", "UPLOAD"),
    ("caption", "\0"),
    ("caption", "x" * 10_001),
]


@pytest.mark.parametrize(("name", "value"), PARAMETERS, ids=lambda value: str(value)[:20])
def test_parameters_that_are_not_served(lab: Lab, name: str, value: str) -> None:
    detail = refusal(lab.ann.ask(lab.dataset, **{name: value}), 422)
    assert detail.startswith(name) and len(detail) < 400


@pytest.mark.parametrize(
    "params",
    [
        {"anchor_media_id": NOBODY, "anchor_type": "upload"},
        {"anchor_media_id": "me", "anchor_type": "MEDIA"},
        {"anchor_media_id": NOBODY + "0", "anchor_type": "MEDIA"},
    ],
)
def test_anchors_that_are_none(lab: Lab, params: JsonObject) -> None:
    assert refusal(lab.ann.ask(lab.dataset, **params), 422).startswith("anchor_")


@pytest.mark.parametrize("kind", ["UPLOAD", "MEDIA"])
def test_anchors_that_are_not_there(lab: Lab, kind: str) -> None:
    detail = refusal(lab.ann.ask(lab.dataset, anchor_media_id=NOBODY, anchor_type=kind), 404)
    assert NOBODY in detail


@pytest.mark.parametrize("name", ["duplicate_threshold", "threshold", "page_number", "entity_type"])
def test_two_values_for_one_parameter(lab: Lab, name: str) -> None:
    values = {"entity_type": ["IMAGES", "OBJECTS"]}.get(name, ["0", "1"])
    sent = "&".join(f"{name}={value}" for value in values)
    assert name in refusal(lab.ann.get(f"/explore/{lab.dataset}?{sent}"), 422)


@pytest.mark.parametrize("entity", ["OBJECTS", "VIDEOS"])
def test_objects_and_videos_say_that_they_are_not_supported(lab: Lab, entity: str) -> None:
    detail = refusal(lab.ann.ask(lab.dataset, entity_type=entity), 422)
    assert entity in detail and "not supported by this server" in detail and "frames are" in detail


def test_a_tag_that_is_on_nothing_selects_nothing(lab: Lab) -> None:
    assert lab.ann.explore(lab.dataset, [tags(NOBODY)])["clusters"] == []


# -- text on a model that takes images only --------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [{"caption": "a dog"}, {"image_caption": "a dog"}, {"vql": json.dumps([text("a dog", threshold=0.5)])}],
)
def test_text_search_says_which_model_cannot_and_what_to_do(lab: Lab, params: JsonObject) -> None:
    detail = refusal(lab.ann.ask(lab.dataset, **params), 409)
    assert "efficientnet_lite0" in detail and "CLIP" in detail


def test_vector_search_says_the_same(lab: Lab) -> None:
    body = {"text": "a dog", "entity_type": "IMAGES", "limit": 10}
    assert "efficientnet_lite0" in refusal(lab.ann.post(f"/vector_search/{lab.dataset}", json=body), 409)


BODIES: list[Any] = [
    {},
    {"text": None},
    {"text": ""},
    {"text": "a", "limit": 0},
    {"text": "a", "limit": 1001},
    {"text": "a", "limit": 1.5},
    {"text": "a", "limit": "10"},
    {"text": "a", "limit": True},
    {"text": "a", "entity_type": "OBJECTS"},
    {"text": "a", "entity_type": 5},
    {"text": "a", "k": 10},
    [],
    "a",
    None,
]


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_bodies_of_vector_search_that_are_not_served(lab: Lab, body: Any) -> None:
    refusal(lab.ann.post(f"/vector_search/{lab.dataset}", json=body), 422)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"text":NaN}', b"[" * 100_000])
def test_bodies_that_are_no_json(lab: Lab, body: bytes) -> None:
    refusal(lab.ann.post(f"/vector_search/{lab.dataset}", content=body), 422)


# -- paths and verbs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/explore", "/explore/", "/dataset", "/Datasets", "/datasets/"]
)
def test_paths_that_are_not_served(lab: Lab, path: str) -> None:
    verb_is_wrong = path == "/dataset"
    refusal(lab.ann.get(path), 405 if verb_is_wrong else 404)


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
def test_verbs_that_are_not_served(lab: Lab, verb: str) -> None:
    answer: httpx.Response = lab.ann.request(verb, f"/explore/{lab.dataset}")
    refusal(answer, 405)
    assert answer.headers["allow"] == "GET"
