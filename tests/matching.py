"""Records to ask a server about, and its answers in a form that can be compared."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.pictures import encode
from tests.servers import RunningServer
from twinlens.engine.types import Rgb

JsonObject = dict[str, Any]

NO_IMAGE = "bm8gaW1hZ2U="
"""Base64 of bytes that are no image."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def photographs() -> Path:
    """The folder of real photographs that scikit-image brings along."""
    found = find_spec("skimage")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "data"


def photograph(name: str) -> bytes:
    """One of them, as a file."""
    return (photographs() / name).read_bytes()


def as_base64(image: bytes | Rgb) -> str:
    """A file as text; pixels are written as PNG first."""
    data = image if isinstance(image, bytes) else encode(image, "PNG")
    return base64.b64encode(data).decode()


def record(image: bytes | Rgb, **fields: Any) -> JsonObject:
    """A record with the image in `_base64`."""
    return {"_base64": as_base64(image), **fields}


def unreadable(**fields: Any) -> JsonObject:
    """A record without a readable image."""
    return {"_base64": NO_IMAGE, **fields}


def ids(records: list[JsonObject]) -> list[str]:
    """Their ids."""
    return [record["_id"] for record in records]


def ask(server: RunningServer, method: str, body: JsonObject, http: int = 200, **options: Any) -> JsonObject:
    """The answer of a method; sent in ASCII, so that half a surrogate pair can be."""
    content = json.dumps(body).encode("ascii")
    response = server.post(method, content=content, **options)
    assert response.status_code == http, response.text
    answer: JsonObject = response.json()
    return answer


def refusal(server: RunningServer, method: str, body: JsonObject, **options: Any) -> str:
    """The text of a request that is refused as a whole."""
    answer = ask(server, method, body, http=400, **options)
    assert set(answer) == {"status"} and answer["status"]["code"] == 400
    text: str = answer["status"]["text"]
    return text


def parts(answer: JsonObject) -> list[JsonObject]:
    """All records of an answer, those in `removed_records` too."""
    keys = ("query_records", "records", "answer_records", "skipped_records")
    found = [each for key in keys for each in answer.get(key, [])]
    return found + [removed for each in found for removed in each.get("removed_records", [])]


@dataclass(frozen=True)
class Collection:
    """A collection of a server, and calls on it."""

    server: RunningServer
    name: str | None

    def call(self, method: str, **body: Any) -> JsonObject:
        return ask(self.server, method, body, headers=self.headers)

    def refused(self, method: str, **body: Any) -> str:
        return refusal(self.server, method, body, headers=self.headers)

    def insert(self, *records: JsonObject, **body: Any) -> JsonObject:
        return self.call("insert", records=list(records), **body)

    def get(self, *ids: Any) -> list[JsonObject]:
        asked = [{"_id": id} for id in ids]
        return list(self.call("get", records=asked, fields_to_return=["*"])["answer_records"])

    def ids(self) -> list[str]:
        return ids(self.call("allRecords")["answer_records"])

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.name is None else {"collection-id": self.name}


def code(answer: JsonObject) -> int:
    value: int = answer["status"]["code"]
    return value


def distances(answer: JsonObject) -> dict[str, float]:
    return dict(zip(ids(answer["answer_records"]), answer["answer_distances"], strict=True))


def by_opencv(data: bytes) -> JsonObject:
    """Size and hashes of a file by OpenCV, each byte printed most significant bit first."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    img_hash: Any = cv2.img_hash  # its stubs lack what follows
    hashers = {"bmh1": img_hash.BlockMeanHash_create(mode=1), "phash": img_hash.PHash_create()}
    bits = {
        kind: "".join(f"{byte:08b}" for byte in hasher.compute(bgr)[0]) for kind, hasher in hashers.items()
    }
    return {"_width": bgr.shape[1], "_height": bgr.shape[0], **bits}


def comparable(answer: JsonObject) -> JsonObject:
    """The answer with "uuid 1" for its first UUID wherever it stands, "uuid 2" for the next, and no time.

    First in the order of sorted keys, so that equal answers stay equal.
    """
    text = json.dumps(answer)
    found = dict.fromkeys(match[0] for match in _UUID.finditer(json.dumps(answer, sort_keys=True)))
    for number, uuid in enumerate(found, start=1):
        text = text.replace(uuid, f"uuid {number}")
    masked: JsonObject = json.loads(text)
    if "statistics" in answer:
        (seconds,) = answer["statistics"].values()
        assert isinstance(seconds, float) and 0 <= seconds < 60
        masked["statistics"] = dict.fromkeys(answer["statistics"], 0.0)
    return masked
