"""Loaded by schemathesis: leads most requests to `/api/v1` to datasets, images and tags that are there.

Requests are changed when they are about to be sent, so that schemathesis judges what is sent: it finds out
again whether the document allows that. What is put in depends on the request, not on chance, so that a run
can be repeated.

What no schema can say is put right here, where the rest of a request is allowed: that two parameters go
together, that a text holds a list, that a file is an image. Some is left wrong, and is then noted as odd.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

from tests.explore import PREFIX
from tests.fuzzing_world import Place, World
from tests.pictures import encode, picture

WORLD = World.load(Path(os.environ["FUZZ_WORLD"]))
RARE = 12
"""One of so many requests that would have something indexed does: a process works on each for seconds."""

LONGEST_QUERY = 50_000
"""No schema bounds a URL as a whole. What has more than 64 KiB is not read as HTTP, whatever it asks for."""

JsonObject: TypeAlias = dict[str, Any]
Case: TypeAlias = schemathesis.Case[Any]
Part: TypeAlias = tuple[str, tuple[str | None, str | bytes]]
"""Of a form: its field; file name and content."""

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=\"trans_id\":)\d+")
_told_ids: set[str] = set()
"""Ids and numbers in answers of the server."""

_begun: set[str] = set()
"""Operations that have something indexed, once they had."""

_odd: set[str] = set()
"""Requests that the document allows and that are refused for what no schema tells: a file that is no image or
no archive, a folder that the operator did not allow, a transaction that holds nothing yet."""

_HTTP = httpx.Client(
    base_url=WORLD.url + PREFIX,
    headers={"Authorization": f"Bearer {WORLD.bearer}"} if WORLD.bearer else {},
    timeout=60,
    verify=False,
)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: JsonObject) -> None:
    """Put real ids and values into the parts of a request that the document allows."""
    if not case.path.startswith(PREFIX) or case.meta is None:
        return
    if len(str(case.query)) > LONGEST_QUERY:
        case.query.clear()
    number = _number([case.method, case.path, case.path_parameters, case.query, repr(case.body)])
    place = _place(case, number)
    allowed = {location for location, part in case.meta.components.items() if part.mode.is_positive}
    if ParameterLocation.PATH in allowed:
        _set_path(case, place, number)
    if ParameterLocation.QUERY in allowed:
        _set_query(case.query, place, number)
        if "path" in case.query:
            _set_folder(case, number)
        if "signature" in case.query and number % 5:
            _sign(case, place, number)
    if ParameterLocation.BODY in allowed and isinstance(case.body, dict):
        if case.media_type == "multipart/form-data":
            kwargs["files"] = _parts(case, case.body, number)
        else:
            _set_ids(case.body, place, number)


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: Case, response: Any) -> None:
    """Remember what the server gave out."""
    if response.status_code == 200 and len(response.content) < 10_000:
        _told_ids.update(_ID.findall(response.content.decode("latin-1")))


@schemathesis.hook
def filter_failure(context: schemathesis.HookContext, failure: Failure, case: Case, response: Any) -> bool:
    """Whether a failure counts: odd requests may be refused."""
    return not (isinstance(failure, RejectedPositiveData) and case.id in _odd)


def _place(case: Case, number: int) -> Place:
    named = case.path_parameters.get("dataset_id")
    takes_files = any(word in case.path for word in ("/ingestion/", "/add_media", "/reindex"))
    chosen = WORLD.intake if takes_files else _pick(number, WORLD.places)
    return next((place for place in WORLD.places if place.id == named), chosen)


# -- paths -----------------------------------------------------------------------------------------


def _set_path(case: Case, place: Place, number: int) -> None:
    asked = case.path_parameters
    deleted = case.operation.label.partition(f"DELETE {PREFIX}/dataset/")[2]
    if deleted == "{dataset_id}":
        _set_deleted(asked, number)
    elif "dataset_id" in asked and number % 5 and not _is_linked(case, "dataset_id"):
        asked["dataset_id"] = place.id
    if asked.get("dataset_id") != place.id:
        return
    for name, there in (
        ("media_id", place.media),
        ("cluster_id", place.clusters),
        ("export_id", place.exports),
        ("tag_id", place.tags),
    ):
        if name in asked and not _is_linked(case, name) and number // 5 % 5:
            asked[name] = _pick(number // 25, there)
    if deleted == "{dataset_id}/tags/{tag_id}" and asked["tag_id"] in place.tags:
        body = {"name": f"short-lived {case.id}"}
        asked["tag_id"] = _told("POST", f"/dataset/{place.id}/tags", json=body)["id"]
    if "transaction_id" in asked and not _is_linked(case, "transaction_id"):
        asked["transaction_id"] = _transaction(case, place, number)


def _set_deleted(asked: JsonObject, number: int) -> None:
    """Have a dataset deleted that was made for that, never one that others are led to."""
    shared = asked["dataset_id"] in {place.id for place in WORLD.places}
    if shared or number % 5:
        made = _told("GET", "/ingestion/new_dataset", params={"dataset_name": "short-lived"})
        asked["dataset_id"] = made["id"]


def _is_linked(case: Case, name: str) -> bool:
    """True for a value that is from an earlier answer, in a chain of requests."""
    stateful = case.meta is not None and case.meta.phase.name.value == "stateful"
    return stateful and str(case.path_parameters[name]) in _told_ids


def _transaction(case: Case, place: Place, number: int) -> Any:
    """An open transaction; one that is to be processed holds a picture."""
    if "/data_files/" in case.path:
        return place.transaction
    if not place.transaction or not _has_its_turn(case, number):
        # One that was begun and holds nothing is refused.
        _odd.add(case.id)
        return case.path_parameters["transaction_id"]
    begun = _told("GET", f"/ingestion/{place.id}/data_files")["trans_id"]
    _HTTP.post(f"/ingestion/{place.id}/data_files/{begun}", files={"files": ("one.png", PICTURES[0])})
    return begun


def _has_its_turn(case: Case, number: int) -> bool:
    """Whether a request that would have something indexed does: the first of an operation, and few others."""
    asked = f"{case.method} {case.path}"
    is_first = asked not in _begun
    _begun.add(asked)
    return is_first or number // 25 % RARE == 0


def _told(verb: str, path: str, **options: Any) -> JsonObject:
    answer: JsonObject = _HTTP.request(verb, path, **options).json()
    return answer


def _sign(case: Case, place: Place, number: int) -> None:
    """Take path and query of a URL that the server gave out."""
    last = case.path.rpartition("/")[2]
    kind = "/exports/" if "/exports/" in case.path else last
    urls = [url for url in place.signed if kind in url]
    url = _pick(number // 5, urls)
    parts = url.removeprefix(PREFIX).split("/")
    case.path_parameters["dataset_id"] = parts[2]
    case.path_parameters["export_id" if "exports" in url else "media_id"] = parts[4]
    if "exports" in url:
        case.path_parameters["file_name"] = parts[5]
    case.query.update(place.signed[url])


# -- queries ---------------------------------------------------------------------------------------


def _set_query(query: JsonObject, place: Place, number: int) -> None:
    if "vql" in query:
        query["vql"] = _right_vql(query["vql"], place, number)
    _right_anchor(query, place, number)
    # A list, or an object, within a text.
    if query.get("labels"):
        query["labels"] = _pick(number, ['["even"]', '["even","odd"]', "even", "[even,odd]"])
    if query.get("tags"):
        query["tags"] = _pick(number, ["untagged", json.dumps(place.tags), place.tags[0]])
    if query.get("bounding_box"):
        query["bounding_box"] = _pick(number, ['{"x":0.1,"y":0.2,"width":0.5,"height":0.6}', "1,2,30,40"])
    if "export_task_id" in query and number % 5:
        query["export_task_id"] = place.exports[0]
    if "dataset_id" in query and number % 5:
        query["dataset_id"] = WORLD.intake.id


def _set_folder(case: Case, number: int) -> None:
    if _has_its_turn(case, number):
        case.query["path"] = WORLD.folder
    else:
        _odd.add(case.id)


def _right_vql(text: str, place: Place, number: int) -> str:
    """The same filters; what compares with an image does so once, with one that is there."""
    filters = json.loads(text)
    for each in filters:
        if "issues" in each and {"confidence_min", "confidence_max"} <= each["issues"].keys():
            low, high = sorted((each["issues"]["confidence_min"], each["issues"]["confidence_max"]))
            each["issues"] |= {"confidence_min": low, "confidence_max": high}
        if "tags" in each and number % 2:
            each["tags"]["value"] = place.tags
    similar = [each for each in filters if "similarity" in each]
    return json.dumps([each for each in filters if each not in similar[1:]] if similar else filters)


def _right_anchor(query: JsonObject, place: Place, number: int) -> None:
    """Both parameters or none of them, and none beside a filter that compares."""
    given = [query.get(name) for name in ("anchor_media_id", "anchor_type")]
    if "similarity" in str(query.get("vql")) or not any(given):
        query.pop("anchor_media_id", None)
        query.pop("anchor_type", None)
    elif number % 3:
        query.update(anchor_media_id=_pick(number, place.media), anchor_type="MEDIA")
    else:
        query.update(anchor_media_id=given[0] or place.media[0], anchor_type=given[1] or "UPLOAD")


# -- bodies ----------------------------------------------------------------------------------------


def _set_ids(body: Any, place: Place, number: int) -> None:
    """Name images and clusters of the dataset in most bodies."""
    if not isinstance(body, dict) or number % 5 == 0:
        return
    if "grant_to_user_email" in body:
        body["grant_to_user_email"] = "viewer"
    if "media_ids" in body:
        body["media_ids"] = place.media[: len(body["media_ids"])]
    if "pairs" in body:
        places = range(number, number + min(len(body["pairs"]), 5))
        body["pairs"] = [[_pick(one, place.media), _pick(one + 1, place.media)] for one in places]
    for one in body.get("media_selection", ()):
        if one["type"] == "media":
            one["payload"]["media_ids"] = place.media[: len(one["payload"]["media_ids"])]
        elif number % 3:
            one["payload"]["cluster_id"] = _pick(number, place.clusters)


def _archive(names: Sequence[str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in zip(names, PICTURES, strict=False):
            archive.writestr(name, data)
    return target.getvalue()


KINDS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
PICTURES = [encode(picture(seed=seed), kind) for seed, kind in enumerate(KINDS)]
NAMES = ["a.png", "b.jpg", "c.gif", "d.webp", "e.bmp", "../../f.tiff"]
ARCHIVE = _archive(["a/1.png", "2.jpg", "../3.gif", "notes.txt"])
LABELS = b"filename,label\na.png,made up\n"


def _parts(case: Case, form: JsonObject, number: int) -> list[Part]:
    """A form as it is sent: images for most files, archives for some; what may be refused is noted."""
    # One source of images: a part of schemathesis does not know `oneOf`.
    sources = [name for name in ("archive", "files", "bucket_path") if name in form]
    fields = [(name, value) for name, value in form.items() if name not in sources[1:]]
    values = [(name, each) for name, value in fields for each in (value if name == "files" else [value])]
    return [_part(case, name, value, number + place) for place, (name, value) in enumerate(values)]


def _part(case: Case, name: str, value: Any, number: int) -> Part:
    costly = name in ("archive", "bucket_path") or case.path.endswith("/add_media")
    real = _has_its_turn(case, number) if costly else number % 4 > 0
    if name not in ("archive", "file", "files"):
        if name == "bucket_path":
            _odd.add(case.id)
            value = WORLD.folder if real else value
        return name, (None, value if isinstance(value, str) else json.dumps(value))
    if not real:
        _odd.add(case.id)
        named = _pick(number, [*NAMES, "a.exe", "no extension", "object_annotations.csv"])
        return name, (named, _bytes_of(value))
    if name == "archive":
        return name, ("all.zip", ARCHIVE)
    if name == "files" and number % 7 == 0:
        return name, ("image_annotations.csv", LABELS)
    return name, (_pick(number, NAMES), _pick(number, PICTURES))


def _bytes_of(value: Any) -> bytes:
    """What schemathesis made up as a file."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()


def _pick(number: int, values: Sequence[T]) -> T:
    return values[number % len(values)]


def _number(value: object) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True, default=str).encode())
