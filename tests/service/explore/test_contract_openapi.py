"""`/openapi.json` lists what is documented, and says of all else that it is an extension."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.explore import JsonObject, Lab, done

EXTENSION = "Extension of TwinLens: "
DOCUMENTED = {
    *("GET /ingestion/new_dataset", "GET /ingestion/{dataset_id}/data_files"),
    "POST /ingestion/{dataset_id}/data_files/{transaction_id}",
    "POST /ingestion/{dataset_id}/process_files/{transaction_id}",
    *("GET /process", "POST /process", "GET /process/add_media", "POST /dataset"),
    *("POST /dataset/{dataset_id}/add_media", "POST /dataset/{dataset_id}/reindex"),
    *("GET /healthcheck", "GET /datasets", "GET /dataset/{dataset_id}", "DELETE /dataset/{dataset_id}"),
    "GET /datasets/{dataset_id}/creation-status",
    *("PUT /manage/{dataset_id}/invite", "GET /manage/{dataset_id}/share"),
    *("GET /explore/{dataset_id}", "GET /explore/{dataset_id}/exploration_metadata"),
    "GET /dataset/{dataset_id}/media/{media_id}/duplicates",
    "POST /dataset/{dataset_id}/search-image-similarity",
    *("POST /vector_search/{dataset_id}", "GET /vector_search/{dataset_id}/embedding_models"),
    *("GET /dataset/{dataset_id}/export_context_async", "POST /dataset/{dataset_id}/export_entities_async"),
    *("GET /dataset/{dataset_id}/export_status", "GET /dataset/{dataset_id}/export"),
    "GET /dataset/{dataset_id}/export_media_id",
}
"""Operations of the documents and of the clients that are public."""

EXPLORE = {
    *("vql", "duplicate_threshold", "entity_type", "threshold", "page_number", "caption", "image_caption"),
    *("textual_similarity_threshold", "labels", "tags", "anchor_media_id", "anchor_type"),
}
"""Documented parameters of explore."""


@pytest.fixture(scope="module")
def document(lab: Lab) -> JsonObject:
    found: JsonObject = done(httpx.get(f"{lab.server.url}/openapi.json", verify=False)).json()
    return found


def operations(document: JsonObject) -> dict[str, JsonObject]:
    return {
        f"{verb.upper()} {path.removeprefix('/api/v1')}": operation
        for path, verbs in document["paths"].items()
        if path.startswith("/api/v1/")
        for verb, operation in verbs.items()
    }


def properties(document: JsonObject, name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return found


def extended(described: dict[str, JsonObject]) -> set[str]:
    """Names whose description says that they are extensions."""
    return {name for name, each in described.items() if each.get("description", "").startswith(EXTENSION)}


def test_every_documented_operation_is_there(document: JsonObject) -> None:
    assert operations(document).keys() >= DOCUMENTED


def test_all_other_operations_say_that_they_are_extensions(document: JsonObject) -> None:
    others = {
        name for name, operation in operations(document).items() if operation["summary"].startswith(EXTENSION)
    }
    assert others == operations(document).keys() - DOCUMENTED
    assert {
        *("GET /explore/{dataset_id}/clusters/{cluster_id}", "POST /dataset/{dataset_id}/tags"),
        *("POST /dataset/{dataset_id}/rejections", "POST /dataset/{dataset_id}/keepers"),
    } <= others


def test_parameters_of_explore(document: JsonObject) -> None:
    described = {
        each["name"]: each for each in operations(document)["GET /explore/{dataset_id}"]["parameters"]
    }
    assert described.keys() == EXPLORE | {"dataset_id", "linkage"}
    assert extended(described) == {"linkage"}
    assert [name for name, each in described.items() if each["required"]] == ["dataset_id"]


def test_fields_that_the_documents_do_not_show(document: JsonObject) -> None:
    metadata = properties(document, "PageMetadata")
    assert extended(metadata) == metadata.keys() - {"used_duckdb"}
    assert extended(properties(document, "Preview")) == {"uniqueness_score"}
    assert extended(properties(document, "Cluster")) == set()
    form = operations(document)["POST /dataset"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert extended(form["properties"]) == {"archive", "bucket_path"}
    (threshold,) = (
        each
        for each in operations(document)["GET /dataset/{dataset_id}/media/{media_id}/duplicates"][
            "parameters"
        ]
        if each["name"] == "duplicate_threshold"
    )
    assert threshold["description"].startswith(EXTENSION)


def test_every_operation_names_its_failures_in_one_form(document: JsonObject) -> None:
    for name, operation in operations(document).items():
        for code, answer in operation["responses"].items():
            if code.startswith("4") and not (code == "400" and "/process" in name):
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Detail"}, (name, code)
    (detail,) = properties(document, "Detail").values()
    assert detail["type"] == "string"


def test_codes_of_explore(document: JsonObject) -> None:
    answers = operations(document)["GET /explore/{dataset_id}"]["responses"]
    assert {"200", "401", "404", "409", "422"} <= answers.keys()


def test_what_asks_for_a_key(document: JsonObject) -> None:
    # The others are for everybody, or come with a signature.
    open_ = {name for name, operation in operations(document).items() if operation["security"] == []}
    assert open_ == {
        "GET /healthcheck",
        "GET /dataset/{dataset_id}/media/{media_id}/image",
        "GET /dataset/{dataset_id}/media/{media_id}/thumbnail.webp",
        "GET /dataset/{dataset_id}/exports/{export_id}/{file_name}",
    }
    for name in operations(document).keys() - open_:
        assert operations(document)[name]["security"] == [{"jwt": []}]
    scheme = document["components"]["securitySchemes"]["jwt"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
