"""Every documented request gets its documented answer, to the letter; so does every one of `/openapi.json`.

The pictures that the documentation names by URL are built to have the documented sizes and distances.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from jsonschema_rs import Draft202012Validator

from tests.bits import differing_by
from tests.matching import JsonObject, as_base64, comparable, photograph
from tests.pictures import encode
from tests.servers import MATCHING, RunningServer, running_server
from tests.web_server import WebServer, answer, serve
from twinlens.engine.hashing import bmh1, from_bits, image_hashes, to_bits
from twinlens.service.matching.examples import ANSWERS, REQUESTS
from twinlens.service.matching.methods import PONG

PING_ANSWER = """
{
"status": {
"code": 200,
"text": "OK"
},
"_service_info": {
"_name": "Image matching service",
"_info": "Get visual hashes, find (near-)duplicate images and rank them"
}
}
"""
HERO = "https://images.ximilar.com/examples/fashion_products/10073009-HERO.jpeg"
BMH1 = (
    "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
    "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
    "1111111111111111111111111111111111111111111111111111111111111111111111111111111111110011"
    "1111111111111111111111111111000011111111111111110111111111111000111111110111111100000000"
    "1111110011111111001111110000000011111110111111110001111100000000111111111111111100001111"
    "0000000011111111111111110000011110000000111111111111111100000011100000001111111111111111"
    "0000000110000000111111110111111100000000100000001111111100111111000000001000000011111111"
    "0001111100000000100000001111111100001111000000001100000011111111000001110000000000000000"
    "1111111100000011000000000000000011000000000000010000000000000000110000000000000000000000"
    "0000000000100000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000001001100000000000001110000000000011111111000000000111111110000000001"
)
PHASH = "1111110000001011010000111110110010111001000101100010010110001010"
VISUAL_HASH = """
{
"records": [
{"_url": "https://images.ximilar.com/examples/fashion_products/10073009-HERO.jpeg"}
]
}
"""
VISUAL_HASH_ANSWER = """
{
"records": [
{
"_url": "https://images.ximilar.com/examples/fashion_products/10073009-HERO.jpeg",
"_width": 400,
"_height": 400,
"bmh1": "__BMH1__",
"phash": "__PHASH__"
}
],
"statistics": {
"processing time": 0.13515067100524902
},
"status": {
"code": 200,
"text": "OK"
}
}
"""
REMOVE_DUPLICATES = """
{
"records": [
{"_url": "__URL_PATH_1__", "_id": 1},
{"_url": "__URL_PATH_1__", "_id": 2},
{"_url": "__URL_PATH_2__", "_id": 3}
]
}
"""
REMOVE_DUPLICATES_ANSWER = """
{
"records": [
{
"_url": "__URL_PATH_1__",
"_status": {
"code": 200,
"text": "OK",
"request_id": "7a1cf0ee-a2dd-4fa2-9927-69441bc1d3dc"
},
"_id": "1",
"_width": 259,
"_height": 460,
"removed_records": [
{
"_url": "__URL_PATH_1__",
"_status": {
"code": 200,
"text": "OK",
"request_id": "7a1cf0ee-a2dd-4fa2-9927-69441bc1d3dc"
},
"_id": "2",
"_width": 259,
"_height": 460
}
]
},
{
"_url": "__URL_PATH_2__",
"_status": {
"code": 200,
"text": "OK",
"request_id": "7a1cf0ee-a2dd-4fa2-9927-69441bc1d3dc"
},
"_id": "3",
"_width": 212,
"_height": 289
}
],
"status": {
"code": 200,
"text": "OK",
"request_id": "7a1cf0ee-a2dd-4fa2-9927-69441bc1d3dc",
"proc_id": "d9ac827a-ee8e-4e3b-a5d2-665c10e3fa84"
},
"statistics": {
"processing time": 0.7242739200592041
}
}
"""
RANK_IMAGES = """
{
"query_record": {
"_url": "__URL_PATH_1__"
},
"records": [
{"_url": "__URL_PATH_1__"},
{"_url": "__URL_PATH_2__"},
{"_url": "__URL_PATH_3__", "test": "insomnia"},
{"_url": "__URL_PATH_4_NOT_WORKING__"}
]
}
"""
RANK_IMAGES_ANSWER = """
{
"query_records": [
{
"_url": "__URL_PATH_1__",
"_width": 259,
"_height": 460
}
],
"answer_distances": [0.0, 0.1, 26.0],
"answer_records": [
{
"_url": "__URL_PATH_1__",
"_id": "e7ee2a82-495f-4df7-adc3-5cdb2b5fadf7",
"_width": 259,
"_height": 460
},
{
"_url": "__URL_PATH_2__",
"_id": "b170de44-75e2-4c4c-a41a-ff1ed9fa84b6",
"_width": 259,
"_height": 460
},
{
"_url": "__URL_PATH_3__",
"test": "insomnia",
"_id": "ee72be0b-ab93-4696-9689-7f866ea9bb38",
"_width": 212,
"_height": 289
}
],
"skipped_records": [
{
"_url": "__URL_PATH_4_NOT_WORKING__",
"_status": {
"code": 400,
"text": "Error Loading Image: Unable to download image from '__URL_PATH_4_NOT_WORKING__', Attempts: 3",
"request_id": "a798e682-2b89-49ea-bb6b-0c2d09d523c1"
},
"_id": "dccb8eab-c4da-4fc6-b24a-1d92fe96f75e"
}
],
"status": {
"code": 300,
"text": "MIXED_RESULT",
"request_id": "a798e682-2b89-49ea-bb6b-0c2d09d523c1",
"proc_id": "19ef9e49-0c6b-4dca-a52a-80726da178ed"
},
"statistics": {
"processing time": 0.9733231067657471
}
}
"""

RANKED = [differing_by(0, 460, 259), differing_by(1, 460, 259), differing_by(252, 289, 212)]
"""Query and first record, second and third record: 0, 1 and 252 bits apart, of the documented sizes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home"), allow_private_urls=True) as running:
        yield running


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """RANKED under /0, /1 and /2, and under /hero a photograph of the documented size and format."""
    pages = {f"/{number}": answer(encode(rgb, "PNG")) for number, rgb in enumerate(RANKED)}
    with serve(pages | {"/hero": answer(hero())}) as running:
        yield running


@pytest.fixture(scope="module")
def openapi(server: RunningServer) -> JsonObject:
    document: JsonObject = httpx.get(f"{server.url}/openapi.json", verify=False).json()
    return document


def hero() -> bytes:
    photo = cv2.imdecode(np.frombuffer(photograph("astronaut.png"), np.uint8), cv2.IMREAD_COLOR)
    assert photo is not None
    return cv2.imencode(".jpeg", photo[:400, 50:450])[1].tobytes()


def with_urls(text: str, urls: dict[str, str]) -> Any:
    """A documented text as JSON, with places of images that exist."""
    for documented, real in urls.items():
        text = text.replace(documented, real)
    return json.loads(text)


def assert_the_same(live: JsonObject, documented: JsonObject) -> None:
    """Equal in keys, their order, types and values, but for which UUIDs they are and the time it took."""
    assert json.dumps(comparable(live), indent=1) == json.dumps(comparable(documented), indent=1)


def without_urls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_urls(inner) for key, inner in value.items() if key != "_url"}
    return [without_urls(inner) for inner in value] if isinstance(value, list) else value


# -- the documented examples -----------------------------------------------------------------------


def test_the_pictures_differ_by_0_1_and_252_bits() -> None:
    first = bmh1(RANKED[0])
    assert [int(np.unpackbits(first ^ bmh1(rgb)).sum()) for rgb in RANKED] == [0, 1, 252]


def test_the_documented_hashes_can_be_read_and_written() -> None:
    assert (len(BMH1), len(PHASH)) == (968, 64)
    assert to_bits(from_bits(BMH1)) == BMH1
    assert to_bits(from_bits(PHASH)) == PHASH


@pytest.mark.parametrize("options", [{}, {"headers": {"Content-Type": "application/json"}}])
def test_ping(server: RunningServer, options: dict[str, Any]) -> None:
    """Its request has no body, with a client that says nonetheless what type it has and without."""
    live = httpx.post(f"{server.matching}/ping", **options)
    assert live.request.headers["content-length"] == "0"
    assert live.status_code == 200
    assert json.dumps(live.json()) == json.dumps(json.loads(PING_ANSWER))


def test_visual_hash(server: RunningServer, web: WebServer) -> None:
    urls = {HERO: f"{web.url}/hero"}
    live = server.post("visual_hash", with_urls(VISUAL_HASH, urls)).json()
    bgr: Any = cv2.imdecode(np.frombuffer(hero(), np.uint8), cv2.IMREAD_COLOR)
    hashes = image_hashes(np.ascontiguousarray(bgr[..., ::-1]))
    expected = {"__BMH1__": to_bits(hashes.bmh1), "__PHASH__": to_bits(hashes.phash)}
    documented = with_urls(VISUAL_HASH_ANSWER, urls | expected)
    # The example shows a short status; the other methods show four fields, and every answer has them.
    documented["status"] |= {name: live["status"][name] for name in ("request_id", "proc_id")}
    assert_the_same(live, documented)
    assert [len(live["records"][0][kind]) for kind in ("bmh1", "phash")] == [len(BMH1), len(PHASH)]


def test_remove_duplicates(server: RunningServer, web: WebServer) -> None:
    urls = {"__URL_PATH_1__": f"{web.url}/0", "__URL_PATH_2__": f"{web.url}/2"}
    live = server.post("remove_duplicates", with_urls(REMOVE_DUPLICATES, urls)).json()
    assert_the_same(live, with_urls(REMOVE_DUPLICATES_ANSWER, urls))


def test_rank_images(server: RunningServer, web: WebServer) -> None:
    urls = {f"__URL_PATH_{number + 1}__": f"{web.url}/{number}" for number in range(3)}
    urls["__URL_PATH_4_NOT_WORKING__"] = f"{web.url}/nothing-is-here"
    live = server.post("rank_images", with_urls(RANK_IMAGES, urls)).json()
    assert_the_same(live, with_urls(RANK_IMAGES_ANSWER, urls))


def test_images_that_are_sent_get_the_same_answers_as_images_behind_urls(server: RunningServer) -> None:
    first, second, third = ({"_base64": as_base64(rgb)} for rgb in RANKED)
    merged = {"records": [first | {"_id": 1}, first | {"_id": 2}, third | {"_id": 3}]}
    documented = without_urls(json.loads(REMOVE_DUPLICATES_ANSWER))
    assert_the_same(server.post("remove_duplicates", merged).json(), documented)

    broken = {"_base64": as_base64(b"no image")}
    ranking = {"query_record": first, "records": [first, second, third | {"test": "insomnia"}, broken]}
    live = server.post("rank_images", ranking).json()
    documented = without_urls(json.loads(RANK_IMAGES_ANSWER))
    text = live["skipped_records"][0]["_status"]["text"]
    assert text.startswith("Error Loading Image: ")
    documented["skipped_records"][0]["_status"]["text"] = text
    assert_the_same(live, documented)


# -- the examples of /openapi.json -----------------------------------------------------------------


def test_the_examples_of_openapi_are_answered_as_it_says(server: RunningServer, openapi: JsonObject) -> None:
    assert set(REQUESTS) == set(ANSWERS)
    for method, body in REQUESTS.items():
        described = openapi["paths"][f"{MATCHING}/{method}"]["post"]
        request = described["requestBody"]["content"]["application/json"]
        assert [example["value"] for example in request["examples"].values()] == [body]
        validator(openapi, request["schema"]).validate(body)

        shown = described["responses"]["200"]["content"]["application/json"]
        assert shown["example"] == ANSWERS[method]
        live = server.post(method, body).json()
        assert comparable(live) == comparable(ANSWERS[method])
        validator(openapi, shown["schema"]).validate(live)


def test_every_method_is_described_and_has_an_example(openapi: JsonObject) -> None:
    described = {path.removeprefix(f"{MATCHING}/") for path in openapi["paths"] if path.startswith(MATCHING)}
    assert described == {"ping", *REQUESTS}
    for verb in ("get", "post"):
        shown = openapi["paths"][f"{MATCHING}/ping"][verb]["responses"]["200"]["content"]["application/json"]
        assert shown["example"] == PONG == json.loads(PING_ANSWER)
        validator(openapi, shown["schema"]).validate(PONG)


def test_failures_are_described_as_they_are_answered(server: RunningServer, openapi: JsonObject) -> None:
    for method in REQUESTS:
        live = server.post(method, {"records": 5, "count": "x", "fields_to_return": 5})
        assert live.status_code == 400
        shown = openapi["paths"][f"{MATCHING}/{method}"]["post"]["responses"]["400"]["content"]
        checks = validator(openapi, shown["application/json"]["schema"])
        checks.validate(live.json())
        checks.validate(shown["application/json"]["example"])


def test_the_described_answers_are_not_just_anything(openapi: JsonObject) -> None:
    for method, shown in ANSWERS.items():
        described = openapi["paths"][f"{MATCHING}/{method}"]["post"]["responses"]["200"]["content"]
        checks = validator(openapi, described["application/json"]["schema"])
        for key in set(shown) - {"skipped_records"}:
            assert not checks.is_valid({name: value for name, value in shown.items() if name != key}), key
        assert not checks.is_valid(shown | {"status": {"code": 200, "text": "OK"}})
        assert not checks.is_valid(shown | {"skipped_records": [1]})


def validator(openapi: JsonObject, schema: JsonObject) -> Draft202012Validator:
    """Checks by a schema of the document; its references lead into the document."""
    return Draft202012Validator({**schema, "components": openapi["components"]})
