"""What `/openapi.json` says of `/api/v1`: all that is documented elsewhere, what is beyond it, and no lies.

That answers are as it says is tested in test_made_up_requests.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from tests.explore import PREFIX
from tests.servers import running_server
from twinlens.engine.errors import InvalidValue
from twinlens.service.app import create_app
from twinlens.service.explore import describe, vql_schema
from twinlens.service.explore.vql import parse_vql
from twinlens.service.keys import KeyStore
from twinlens.service.settings import Settings

JsonObject: TypeAlias = dict[str, Any]

DOCUMENTED = {
    "GET /healthcheck",
    "GET /ingestion/new_dataset",
    "GET /ingestion/{dataset_id}/data_files",
    "POST /ingestion/{dataset_id}/data_files/{transaction_id}",
    "POST /ingestion/{dataset_id}/process_files/{transaction_id}",
    "GET /process",
    "POST /process",
    "GET /process/add_media",
    "POST /dataset",
    "GET /datasets",
    "GET /dataset/{dataset_id}",
    "DELETE /dataset/{dataset_id}",
    "GET /datasets/{dataset_id}/creation-status",
    "POST /dataset/{dataset_id}/add_media",
    "POST /dataset/{dataset_id}/reindex",
    "PUT /manage/{dataset_id}/invite",
    "GET /manage/{dataset_id}/share",
    "GET /explore/{dataset_id}",
    "GET /explore/{dataset_id}/exploration_metadata",
    "GET /dataset/{dataset_id}/media/{media_id}/duplicates",
    "POST /dataset/{dataset_id}/search-image-similarity",
    "POST /vector_search/{dataset_id}",
    "GET /vector_search/{dataset_id}/embedding_models",
    "GET /dataset/{dataset_id}/export_context_async",
    "POST /dataset/{dataset_id}/export_entities_async",
    "GET /dataset/{dataset_id}/export_status",
    "GET /dataset/{dataset_id}/export",
    "GET /dataset/{dataset_id}/export_media_id",
}
EXTENSIONS = {
    "DELETE /manage/{dataset_id}/invite",
    "GET /dataset/{dataset_id}/failures",
    "GET /explore/{dataset_id}/clusters/{cluster_id}",
    "GET /dataset/{dataset_id}/media/{media_id}",
    "GET /dataset/{dataset_id}/media/{media_id}/image",
    "GET /dataset/{dataset_id}/media/{media_id}/thumbnail.webp",
    "GET /dataset/{dataset_id}/exports/{export_id}/{file_name}",
    "GET /dataset/{dataset_id}/tags",
    "POST /dataset/{dataset_id}/tags",
    "DELETE /dataset/{dataset_id}/tags/{tag_id}",
    "POST /dataset/{dataset_id}/tags/{tag_id}/media",
    "DELETE /dataset/{dataset_id}/tags/{tag_id}/media",
    "GET /dataset/{dataset_id}/rejections",
    "POST /dataset/{dataset_id}/rejections",
    "DELETE /dataset/{dataset_id}/rejections",
    "GET /dataset/{dataset_id}/keepers",
    "POST /dataset/{dataset_id}/keepers",
    "DELETE /dataset/{dataset_id}/keepers",
}
SIGNED = {label for label in EXTENSIONS if label.endswith(("/image", "/thumbnail.webp", "/{file_name}"))}
CODES = {200, 202, 400, 401, 403, 404, 409, 422, 429, 503}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> JsonObject:
    home = tmp_path_factory.mktemp("home")
    return create_app(Settings(home=home)).openapi()


@pytest.fixture(scope="module")
def operations(document: JsonObject) -> dict[str, JsonObject]:
    """Operations by "VERB /path", the path without `/api/v1`."""
    return {
        f"{verb.upper()} {path.removeprefix(PREFIX)}": operation
        for path, operations in document["paths"].items()
        if path.startswith(PREFIX)
        for verb, operation in operations.items()
    }


def is_valid(document: JsonObject, schema: JsonObject, value: Any) -> bool:
    components = {"components": document["components"]}
    return bool(Draft202012Validator({**schema, **components}, validate_formats=True).is_valid(value))


def parameters(operation: JsonObject) -> dict[str, JsonObject]:
    return {each["name"]: each for each in operation["parameters"]}


# -- operations ------------------------------------------------------------------------------------


def test_it_has_all_that_is_documented_and_the_extensions(operations: dict[str, JsonObject]) -> None:
    assert operations.keys() == DOCUMENTED | EXTENSIONS


def test_each_operation_has_a_summary_and_a_text(operations: dict[str, JsonObject]) -> None:
    for label, operation in operations.items():
        assert len(operation["summary"]) > 5 and len(operation["description"]) > 5, label
    ids = Counter(operation["operationId"] for operation in operations.values())
    assert max(ids.values()) == 1
    summaries = Counter(operation["summary"] for operation in operations.values())
    assert [text for text, count in summaries.items() if count > 1] == [
        operations["GET /process"]["summary"]
    ], summaries


def test_extensions_say_so(operations: dict[str, JsonObject], document: JsonObject) -> None:
    said = {label for label, each in operations.items() if each["summary"].startswith(describe.EXTENSION)}
    assert said == EXTENSIONS
    explore = parameters(operations["GET /explore/{dataset_id}"])
    assert {name for name, each in explore.items() if describe.EXTENSION in each["description"]} == {
        "linkage"
    }
    schemas = document["components"]["schemas"]
    assert extended(schemas["Preview"]) == {"uniqueness_score"}
    assert extended(schemas["Cluster"]) == set()
    assert extended(schemas["PageMetadata"]) == {"total_clusters", "total_media", "page_size", "generation"}


def extended(schema: JsonObject) -> set[str]:
    """Properties that say they are extensions."""
    return {
        name
        for name, each in schema["properties"].items()
        if each.get("description", "").startswith(describe.EXTENSION)
    }


def test_each_operation_says_how_it_fails(operations: dict[str, JsonObject]) -> None:
    for label, operation in operations.items():
        codes = {int(code) for code in operation["responses"]}
        assert codes <= CODES | ({304} if label == "GET /explore/{dataset_id}" else set()), label
        if label == "GET /healthcheck":
            # It asks nothing and looks at nothing.
            assert codes == {200}
            continue
        assert 503 in codes and codes & {200, 202}, label
        assert (401 in codes) != (label in SIGNED), label
        assert (404 in codes) == ("{" in label or "add_media" in label), label
        if operation.get("requestBody", {}).get("content", {}).keys() == {"application/json"}:
            assert codes >= {400, 422, 429}, label
        if "{dataset_id}" in label and not label.startswith("GET") and "search" not in label:
            assert 403 in codes or "export" in label, label


def test_failures_have_one_form(operations: dict[str, JsonObject], document: JsonObject) -> None:
    of_folders = {"GET /process", "POST /process", "GET /process/add_media"}
    for label, operation in operations.items():
        for code, response in operation["responses"].items():
            if int(code) >= 400:
                (content,) = response["content"].items()
                assert content[0] == "application/json"
                name = content[1]["schema"]["$ref"].rpartition("/")[2]
                assert name == ("ProcessingFailed" if code == "400" and label in of_folders else "Detail")
                if code == "401":
                    assert response["headers"]["WWW-Authenticate"]["schema"]["const"] == "Bearer"
    detail = document["components"]["schemas"]["Detail"]
    assert detail["required"] == ["detail"] and detail["properties"]["detail"]["type"] == "string"
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()


def test_ids_in_paths_are_uuids(operations: dict[str, JsonObject]) -> None:
    for label, operation in operations.items():
        for name, parameter in parameters(operation).items() if "{" in label else ():
            if parameter["in"] == "path":
                assert parameter["required"] and parameter["description"]
                if name.endswith("_id") and name != "transaction_id":
                    assert parameter["schema"] == {"type": "string", "format": "uuid"}
    transaction = parameters(operations["POST /ingestion/{dataset_id}/process_files/{transaction_id}"])
    assert transaction["transaction_id"]["schema"]["type"] == "integer"


# -- explore ---------------------------------------------------------------------------------------


def test_explore_has_the_documented_parameters(operations: dict[str, JsonObject]) -> None:
    explore = parameters(operations["GET /explore/{dataset_id}"])
    fraction = {"type": "number", "minimum": 0, "maximum": 1}
    wanted: dict[str, JsonObject] = {
        "entity_type": {"type": "string", "enum": ["IMAGES"], "default": "IMAGES"},
        "threshold": {"type": "integer", "minimum": 0, "maximum": 4, "default": 0},
        "page_number": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0},
        "duplicate_threshold": fraction,
        "textual_similarity_threshold": fraction,
        "anchor_media_id": {"type": "string", "format": "uuid"},
        "anchor_type": {"type": "string", "enum": ["UPLOAD", "MEDIA"]},
        "labels": {"type": "string"},
        "tags": {"type": "string"},
        "linkage": {"type": "string", "enum": ["complete", "star", "single"], "default": "complete"},
    }
    assert {name: explore[name]["schema"] for name in wanted} == wanted
    for name in ("caption", "image_caption"):
        assert explore[name]["schema"]["type"] == "string"
    assert explore["image_caption"]["deprecated"]
    assert list(explore["vql"]["content"]) == ["application/json"]
    assert explore.keys() == {*wanted, "dataset_id", "vql", "caption", "image_caption"}
    for name, parameter in explore.items():
        assert parameter["required"] == (name == "dataset_id")


def test_a_cluster_always_has_the_documented_fields(document: JsonObject) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Cluster"]["required"] == [
        *("cluster_id", "type", "n_images", "similarity_threshold", "relevance_score", "previews", "labels"),
        "user_tags",
    ]
    assert schemas["Preview"]["required"] == [
        *("type", "media_id", "media_uri", "media_thumb_uri", "file_name", "width", "height")
    ]
    assert schemas["ExploreAnswer"]["required"] == ["clusters", "metadata"]


def test_answers_have_no_other_fields(document: JsonObject, operations: dict[str, JsonObject]) -> None:
    """So that a field that nobody described fails the test of made-up requests."""
    schemas = document["components"]["schemas"]
    for name in names_of({label: operation["responses"] for label, operation in operations.items()}):
        assert name == "Detail" or schemas[name]["additionalProperties"] is False, name


def names_of(value: object) -> Iterator[str]:
    """Names of the schemas that a part of the document refers to."""
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for each in value.values():
            yield from names_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from names_of(each)


# -- examples --------------------------------------------------------------------------------------


def examples(operation: JsonObject) -> Iterator[tuple[JsonObject, Any]]:
    """Schemas of an operation, with their examples."""
    for parameter in operation.get("parameters", ()):
        if "example" in parameter:
            yield parameter["schema"], parameter["example"]
        for content in parameter.get("content", {}).values():
            yield content["schema"], content["example"]
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for content in (content for body in bodies for content in body.get("content", {}).values()):
        if "example" in content:
            yield content["schema"], content["example"]
        for example in content.get("examples", {}).values():
            yield content["schema"], example["value"]


def test_examples_are_right(document: JsonObject, operations: dict[str, JsonObject]) -> None:
    count = 0
    for label, operation in operations.items():
        for schema, example in examples(operation):
            assert is_valid(document, schema, example), f"{label}: {example} does not fit {schema}"
            count += 1
    assert count > 100


def test_bodies_of_json_have_an_example(operations: dict[str, JsonObject]) -> None:
    for label, operation in operations.items():
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert body is None or body["examples"], label


def test_schemas_are_schemas(document: JsonObject) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert is_valid(document, schema, {"no": "such"}) in (True, False), name


# -- keys ------------------------------------------------------------------------------------------


def test_it_says_how_a_key_is_shown_and_whether_one_is_needed(tmp_path: Path) -> None:
    states: list[list[JsonObject]] = [[{"jwt": []}, {}], [{"jwt": []}]]
    with running_server(tmp_path) as server, closing(KeyStore(tmp_path)) as store:
        for needed in states:
            document = httpx.get(f"{server.url}/openapi.json").json()
            for path, operations in document["paths"].items():
                for verb, operation in operations.items():
                    label = f"{verb.upper()} {path.removeprefix(PREFIX)}"
                    if path.startswith(PREFIX) and label not in SIGNED | {"GET /healthcheck"}:
                        assert operation["security"] == needed, label
                    elif path.startswith(PREFIX):
                        assert operation["security"] == [], label
            if len(needed) > 1:
                store.create("someone")
    scheme = document["components"]["securitySchemes"]["jwt"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    for word in ("HS256", "kid", "sub", "exp"):
        assert word in scheme["description"]


def test_other_verbs_are_told_which_are_served(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        for path, verbs in (
            (f"/dataset/{ID}", "DELETE, GET"),
            (f"/dataset/{ID}/keepers", "DELETE, GET, POST"),
            ("/process", "GET, POST"),
            ("/process/add_media", "GET"),
            (f"/manage/{ID}/invite", "DELETE, PUT"),
        ):
            answer = httpx.patch(f"{server.url}{PREFIX}{path}", verify=False)
            assert (answer.status_code, answer.headers.get_list("allow")) == (405, [verbs])
            assert answer.json() == {"detail": "PATCH is not served here: /docs shows what is"}


# -- the filter language ---------------------------------------------------------------------------

ID = "300dad2c-1234-41f1-8483-5a879df30de4"
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(-0.5, 1.5)
    | st.sampled_from(["", " ", "cat", "\x1c", "a\x00b", ID, ID.upper(), "blur", "in", "out", "mislabels"])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
NAMES = st.sampled_from(["duplicates", "uniqueness", "text", "labels", "tags", "issues", "similarity", "id"])
OPS = st.sampled_from(
    ["duplicates", "uniqueness", "semantic", "fts", "one_of", "is", "is_not", "issue", "upload", "in", ""]
)
BODIES = st.fixed_dictionaries(
    {"op": OPS, "value": VALUES},
    optional={
        "threshold": SCALARS,
        "mode": SCALARS,
        "confidence_min": SCALARS,
        "confidence_max": SCALARS,
        "more": SCALARS,
    },
)
FILTERS = st.dictionaries(NAMES, BODIES | VALUES, max_size=2)


@settings(max_examples=2000)
@given(st.lists(FILTERS | VALUES, max_size=2))
def test_the_schema_of_vql_allows_what_is_taken(vql: list[Any]) -> None:
    allowed = Draft202012Validator(vql_schema.VQL, validate_formats=True).is_valid(vql)
    try:
        parse_vql(json.dumps(vql))
    except InvalidValue as error:
        beyond = "confidence_max" in str(error) or "one image to compare with" in str(error)
        assert not allowed or beyond, f"{vql} is refused: {error}"
    else:
        assert allowed, f"{vql} is taken"


@given(st.sampled_from(["duplicates", "uniqueness", "semantic", "fts", "labels", "tags", "issue", "upload"]))
def test_each_filter_is_in_the_schema(kind: str) -> None:
    filters: dict[str, JsonObject] = {
        "duplicates": {"duplicates": {"op": "duplicates", "value": 0.95}},
        "uniqueness": {"uniqueness": {"op": "uniqueness", "value": 0.8}},
        "semantic": {"text": {"op": "semantic", "value": "dog", "threshold": 0.5}},
        "fts": {"text": {"op": "fts", "value": "dog"}},
        "labels": {"id": "1", "labels": {"op": "not_one_of", "value": ["cat"]}},
        "tags": {"tags": {"op": "is", "value": [ID]}},
        "issue": {"issues": {"op": "issue", "value": "blur", "mode": "out", "confidence_min": 0.5}},
        "upload": {"similarity": {"op": "upload", "value": ID, "threshold": 0.3}},
    }
    assert Draft202012Validator(vql_schema.VQL).is_valid([filters[kind]])
    parse_vql(json.dumps([filters[kind]]))
