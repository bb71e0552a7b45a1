"""The real client of the documented API, unmodified, against a server of ours.

Everything that its users call is called here: `ImageMatchingSearchClient` sends what it sends to the service
that it was made for.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ximilar.client import ImageMatchingSearchClient  # type: ignore[import-untyped]
from ximilar.client.exceptions import XimilarClientException  # type: ignore[import-untyped]

from tests.bits import differing_by
from tests.matching import NO_IMAGE, as_base64, by_opencv, code, ids, photograph, photographs
from tests.servers import RunningServer, running_server
from tests.web_server import answer, serve

SMALL, LARGE, LARGER_THAN_512 = "coins.png", "rocket.jpg", "retina.jpg"
"""Real photographs below and above 0.1 MiB, where the client starts to encode them anew, and one that it
shrinks first."""

PREFIX = "data:image/jpeg;base64,"
_WORD_CHANGES_AT = 70


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with (
        pytest.MonkeyPatch.context() as environment,
        running_server(home, allow_private_urls=True) as running,
    ):
        # The client sends through a proxy of the environment unless told otherwise.
        environment.setenv("NO_PROXY", "localhost,127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def token(server: RunningServer) -> str:
    return new_token(server)


@pytest.fixture
def client(server: RunningServer, token: str, request: pytest.FixtureRequest) -> Any:
    """A client with a key, and with a collection of its own."""
    return connected(server, token, collection_id=request.node.name)


@pytest.fixture
def filled(client: Any) -> Any:
    """Five records, 0, 4, 8, 12 and 16 bits from the first."""
    records = [
        {"_base64": as_base64(differing_by(4 * n)), "noresize": True, "_id": n, "even": n % 2 == 0}
        for n in range(5)
    ]
    assert code(client.insert(records)) == 210
    return client


def new_token(server: RunningServer) -> str:
    command = [sys.executable, "-m", "twinlens.service", "keys", "create", "--name", "shop", "--json"]
    run = subprocess.run([*command, "--home", str(server.home)], capture_output=True, check=True, timeout=60)
    made: dict[str, str] = json.loads(run.stdout)
    return made["token"]


def connected(server: RunningServer, token: str, **options: Any) -> Any:
    return ImageMatchingSearchClient(token, endpoint=f"{server.matching}/", **options)


def file(name: str) -> str:
    return str(photographs() / name)


def pixels(name: str) -> Any:
    bgr: Any = cv2.imdecode(np.frombuffer(photograph(name), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(bgr[..., ::-1])


# -- who asks --------------------------------------------------------------------------------------


def test_ping(client: Any) -> None:
    assert code(client.ping()) == 200
    assert client.ping()["_service_info"]["_name"] == "Image matching service"


def test_a_key_made_while_the_server_runs_counts_at_once(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        stranger = connected(server, "")
        assert code(stranger.ping()) == 200
        client = connected(server, new_token(server))
        assert code(client.ping()) == 200
        assert code(stranger.ping()) == 401


@pytest.mark.parametrize("length", [5, _WORD_CHANGES_AT - 1, _WORD_CHANGES_AT])
def test_a_wrong_token_is_answered_in_the_form_that_the_client_looks_for(
    server: RunningServer, token: str, length: int
) -> None:
    stranger = connected(server, "x" * length)
    word = "Token" if length < _WORD_CHANGES_AT else "JWT"
    assert stranger.headers["Authorization"].startswith(f"{word} x")
    record = {"_file": file(SMALL), "_id": 1}
    for seen in (stranger.ping(), stranger.insert([record]), stranger.search(record), stranger.allRecords()):
        assert (seen["detail"], code(seen)) == ("Invalid token.", 401)
        with pytest.raises(XimilarClientException, match="Invalid token"):
            stranger.check_json_status(seen)
    assert list(stranger.all_records_iter()) == []


def test_the_word_that_goes_with_long_tokens_is_taken_with_every_token(client: Any, token: str) -> None:
    assert len(token) < _WORD_CHANGES_AT
    client.add_header({"Authorization": f"JWT {token}"})
    assert code(client.ping()) == 200
    client.update_token(token)
    assert client.headers["Authorization"] == f"Token {token}"
    assert code(client.allRecords()) == 200


# -- images in every form that the client sends ----------------------------------------------------

IMAGES = {
    "small file": ({"_file": file(SMALL)}, False),
    "large file": ({"_file": file(LARGE)}, True),
    "file that is shrunk": ({"_file": file(LARGER_THAN_512)}, True),
    "large file as it is": ({"_file": file(LARGE), "noresize": True}, False),
    "base64": ({"_base64": as_base64(photograph(SMALL))}, True),
    "base64 with a prefix": ({"_base64": PREFIX + as_base64(photograph(LARGE))}, True),
    "base64 as it is": ({"_base64": as_base64(photograph(LARGE)), "noresize": True}, False),
    "base64 with a prefix as it is": (
        {"_base64": PREFIX + as_base64(photograph(LARGE)), "noresize": True},
        True,
    ),
    "pixels": ({"_img_data": pixels("chelsea.png")}, True),
    "pixels in another order": ({"_img_data": pixels("chelsea.png"), "_color_space": "BGR"}, True),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_are_hashed_as_they_are_sent(client: Any, form: str) -> None:
    record, prefixed = IMAGES[form]
    (sent,) = client.preprocess_records([record])
    assert sent["_base64"].startswith(PREFIX) == prefixed
    seen = client.custom_endpoint_processing([record], "visual_hash")
    expected = by_opencv(base64.b64decode(sent["_base64"].removeprefix(PREFIX)))
    echoed = {key: value for key, value in sent.items() if key != "_base64"}
    assert seen["records"] == [echoed | expected]
    assert code(seen) == 200


def test_sizes_are_those_of_the_image_that_was_sent(client: Any) -> None:
    records = [{"_file": file(LARGER_THAN_512)}, {"_file": file(LARGER_THAN_512), "noresize": True}]
    shrunk, whole = client.custom_endpoint_processing(records, "visual_hash")["records"]
    assert (shrunk["_width"], shrunk["_height"], shrunk["_file"]) == (512, 512, file(LARGER_THAN_512))
    assert (whole["_width"], whole["_height"], whole["noresize"]) == (1411, 1411, True)


def test_images_behind_urls(client: Any) -> None:
    data = photograph("chelsea.png")
    with serve({"/cat.png": answer(data)}) as web:
        records = [{"_url": f"{web.url}/cat.png", "noresize": noresize} for noresize in (True, False)]
        seen = client.custom_endpoint_processing(records, "visual_hash", {"hash_type": ["bmh1", "phash"]})
        assert seen["records"] == [record | by_opencv(data) for record in records]


# -- the four methods of matching ------------------------------------------------------------------


def test_one_hash_only(client: Any) -> None:
    seen = client.custom_endpoint_processing([{"_file": file(SMALL)}], "visual_hash", {"hash_type": "phash"})
    (record,) = seen["records"]
    assert record["phash"] == by_opencv(photograph(SMALL))["phash"] and "bmh1" not in record


def test_remove_duplicates(client: Any) -> None:
    records = [{"_file": file(name), "_id": n} for n, name in enumerate([SMALL, LARGE, SMALL, LARGE, SMALL])]
    seen = client.custom_endpoint_processing(records, "remove_duplicates", {"range": 0})
    merged = [(record["_id"], ids(record["removed_records"])) for record in seen["records"]]
    assert merged == [("0", ["2", "4"]), ("1", ["3"])]


def test_rank_images(client: Any) -> None:
    """An original and its copy that the client shrank are near each other."""
    records = [{"_file": file(LARGER_THAN_512), "noresize": noresize} for noresize in (True, False)]
    sent = client.preprocess_records([{"_file": file(SMALL)}, *records])
    seen = client.post("rank_images", data={"query_record": sent[1], "records": sent})
    assert [record["_width"] for record in seen["answer_records"]] == [1411, 512, 384]
    whole, shrunk, other = seen["answer_distances"]
    assert whole == 0.0 <= shrunk < 2 < 20 < other


# -- collections -----------------------------------------------------------------------------------


def test_a_record_from_beginning_to_end(client: Any) -> None:
    record = {"_file": file(SMALL), "_id": 7, "tags": ["roman", "silver"]}
    assert code(client.insert([record])) == 210
    (read,) = client.get_records([{"_id": 7}], fields_to_return=["*"])["answer_records"]
    assert read == {"_id": "7", "_file": file(SMALL), "tags": record["tags"], "_width": 384, "_height": 303}

    changed = client.update([{"_id": 7, "price": 12.5}])
    assert (code(changed), changed["answer_records"]) == (200, [read | {"price": 12.5}])
    found = client.search({"_file": file(SMALL)}, fields_to_return=["_id", "price"])
    assert (found["answer_records"], found["answer_distances"]) == ([{"_id": "7", "price": 12.5}], [0.0])

    gone = client.remove([{"_id": 7}])
    assert (code(gone), gone["answer_records"]) == (220, [{"_id": "7"}])
    assert code(client.get_records([{"_id": 7}])) == 404


def test_records_are_inserted_once(client: Any) -> None:
    records = [{"_file": file(name), "_id": name} for name in (SMALL, LARGE)]
    assert code(client.insert(records[:1], request_fields={"fields_to_return": ["_id", "_width"]})) == 210
    again = client.insert(records)
    assert (code(again), again["answer_count"]) == (211, 1)
    (skipped,) = again["skipped_records"]
    assert (skipped["_id"], skipped["_reason"]["status"]["code"]) == (SMALL, 211)
    assert code(client.insert(records)) == 411


def test_search(filled: Any) -> None:
    seen = filled.search({"_id": 2})
    assert ids(seen["answer_records"]) == ["2", "1", "3", "0", "4"]
    assert seen["answer_distances"] == [0.0, 0.4, 0.4, 0.8, 0.8]
    seen = filled.search({"_id": 2}, filter={"even": True}, k=2, fields_to_return=["_id", "even"])
    assert seen["answer_records"] == [{"_id": "2", "even": True}, {"_id": "0", "even": True}]
    picture = {"_base64": as_base64(differing_by(15)), "noresize": True}
    assert ids(filled.search(picture, k=1)["answer_records"]) == ["3"]
    assert filled.search(picture, k=1)["answer_distances"] == [0.3]


def test_search_and_rank(filled: Any) -> None:
    picture = {"_base64": as_base64(differing_by(0)), "noresize": True, "shop": "north"}
    seen = filled.search_and_rank({"_id": 4}, [{"_id": 1}, picture, {"_id": 3}], ["_id", "shop"])
    assert seen["answer_distances"] == [0.4, 1.2, 1.7]
    first, second, third = seen["answer_records"]
    assert (first, second, third["shop"]) == ({"_id": "3"}, {"_id": "1"}, "north")


def test_data_made_for_a_search_can_be_posted(filled: Any) -> None:
    data = filled.construct_data({"_id": 0}, filter={"even": False}, k=1, fields_to_return=["_id"], range=5)
    assert data == {
        "query_record": {"_id": 0},
        "filter": {"even": False},
        "k": 1,
        "fields_to_return": ["_id"],
        "range": 5,
    }
    assert ids(filled.post("visualKNN", data=data)["answer_records"]) == ["1"]
    assert ids(filled.post("nearDuplicates", data=data)["answer_records"]) == ["1", "3"]
    data = filled.construct_data(records=[{"_id": 3}, {"_id": 1}])
    ranked = filled.post("visualRankRecords", data=data | {"query_record": {"_id": 0}})
    assert ids(ranked["answer_records"]) == ["1", "3"]


def test_random(filled: Any) -> None:
    assert len(set(ids(filled.random(count=3)["answer_records"]))) == 3
    seen = filled.random(filter={"even": True}, fields_to_return=["_id", "even"])
    assert sorted(ids(seen["answer_records"])) == ["0", "2", "4"]
    assert all(record["even"] for record in seen["answer_records"])


def test_all_records(filled: Any) -> None:
    everything = ["0", "1", "2", "3", "4"]
    assert ids(filled.allRecords()["answer_records"]) == everything
    assert ids(filled.allRecords(size=2, page=3)["answer_records"]) == ["4"]
    assert ids(filled.allRecords(size=0)["answer_records"]) == everything
    whole = filled.get_all_ids()
    assert (whole["answer_records"], whole["answer_count"]) == ([{"_id": id} for id in everything], 5)
    filtered = filled.get_all_ids(fields=["even"], filterf={"even": False})
    assert filtered["answer_records"] == [{"_id": "1", "even": False}, {"_id": "3", "even": False}]


@pytest.mark.parametrize("size", [1, 2, 4, 5, 1000])
def test_all_records_can_be_iterated(filled: Any, size: int) -> None:
    one_by_one = list(filled.all_records_iter(fields_to_return=["_id", "even"], batch_size=size))
    assert one_by_one == [{"_id": str(n), "even": n % 2 == 0} for n in range(5)]
    batches = list(filled.all_records_iter(batch_size=size, return_batch=True))
    assert [ids(batch) for batch in batches] == [ids(one_by_one)[at : at + size] for at in range(0, 5, size)]


def test_an_empty_collection_has_nothing_to_iterate(client: Any) -> None:
    assert list(client.all_records_iter()) == []
    assert list(client.all_records_iter(return_batch=True)) == []


def test_records_are_inserted_and_removed_in_parallel(
    client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client counts duplicates apart from errors, by the `_reason` of each skipped record."""
    assert code(client.insert([{"_file": file(SMALL), "_id": 3}])) == 210
    records = [{"_file": file(SMALL), "_id": n} for n in range(20)]
    records.append({"_base64": NO_IMAGE, "noresize": True, "_id": "broken"})
    errors = tmp_path / "errors.json"
    results = client.parallel_records_processing(
        records, client.insert, batch_size=2, output=True, error_file=str(errors)
    )
    counted = "{'answer_records': 19, 'records': 0, 'error': 1, 'skipped_records': 1}"
    assert counted in capsys.readouterr().out
    assert sorted(code(result) for result in results) == [210] * 9 + [211, 400]
    assert ids(json.loads(errors.read_text())) == ["broken"]
    assert set(ids(client.get_all_ids()["answer_records"])) == {str(n) for n in range(20)}

    gone = client.parallel_records_processing([{"_id": n} for n in range(25)], client.remove, batch_size=5)
    assert sorted(code(result) for result in gone) == [220] * 4 + [404]
    assert client.get_all_ids()["answer_count"] == 0
