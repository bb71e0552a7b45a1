"""What people decide about images: tags, "not a duplicate", "keep this one".

All of it extends the dialect.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore import describe, schema
from twinlens.service.explore.datasets import DatasetRow
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import NotFound
from twinlens.service.explore.notes import LONGEST_TAG
from twinlens.service.explore.values import canonical_uuid
from twinlens.service.json_answers import StrictJson

routes = APIRouter(tags=["annotations"])
_MOST = 100_000
_IDS = {"type": "array", "items": describe.UUID, "minItems": 1, "maxItems": _MOST}
_MEDIA = describe.json_body(
    {"media_ids": _IDS}, "media_ids", example={"media_ids": ["300dad2c-1234-41f1-8483-5a879df30de4"]}
)
_PAIR = {"type": "array", "items": describe.UUID, "minItems": 2, "maxItems": 2, "uniqueItems": True}
_PAIRS = describe.json_body(
    {"pairs": {"type": "array", "items": _PAIR, "minItems": 1, "maxItems": _MOST}},
    "pairs",
    example={"pairs": [["300dad2c-1234-41f1-8483-5a879df30de4", "9a0dad2c-1234-41f1-8483-5a879df30de4"]]},
)
_DONE = describe.done("Done.")


@routes.get(
    "/dataset/{dataset_id}/tags",
    response_model=list[schema.TagAnswer],
    responses=describe.failures(404),
    summary=describe.EXTENSION + "tags of a dataset",
)
async def tags(request: Request, dataset_id: str) -> Response:
    """By name. Their ids are what the filter `tags` takes."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    found = await asyncio.to_thread(desk.notes.tags, row.id)
    return StrictJson([{"id": tag.id, "name": tag.name, "count": tag.media} for tag in found])


@routes.post(
    "/dataset/{dataset_id}/tags",
    response_model=schema.TagAnswer,
    responses=describe.failures(400, 403, 404, 409, 422, 429),
    summary=describe.EXTENSION + "make a tag",
    openapi_extra=describe.json_body(
        {"name": describe.name(LONGEST_TAG)}, "name", example={"name": "to be checked"}
    ),
)
async def make_tag(request: Request, dataset_id: str) -> Response:
    """A name is used once in a dataset."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    body = await _body(desk, request)
    if not isinstance(name := body.get("name"), str):
        raise InvalidValue("name is missing or not a string: name the tag")
    tag = await asyncio.to_thread(desk.notes.make_tag, row.id, name)
    return StrictJson({"id": tag.id, "name": tag.name, "count": 0})


@routes.delete(
    "/dataset/{dataset_id}/tags/{tag_id}",
    response_model=None,
    responses={**_DONE, **describe.failures(403, 404)},
    summary=describe.EXTENSION + "remove a tag",
)
async def drop_tag(request: Request, dataset_id: str, tag_id: str) -> Response:
    """From all images as well."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    await asyncio.to_thread(desk.notes.drop_tag, row.id, _tag(tag_id))
    return StrictJson(None)


@routes.post(
    "/dataset/{dataset_id}/tags/{tag_id}/media",
    response_model=None,
    responses={**_DONE, **describe.failures(400, 403, 404, 409, 422, 429)},
    summary=describe.EXTENSION + "put a tag on images",
    openapi_extra=_MEDIA,
)
async def assign(request: Request, dataset_id: str, tag_id: str) -> Response:
    """All of them, or none where one is not known."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    media = _media(await _body(desk, request))
    await _check_media(desk, row, media)
    await asyncio.to_thread(desk.notes.assign, row.id, _tag(tag_id), media)
    return StrictJson(None)


@routes.delete(
    "/dataset/{dataset_id}/tags/{tag_id}/media",
    response_model=None,
    responses={**_DONE, **describe.failures(400, 403, 404, 422, 429)},
    summary=describe.EXTENSION + "take a tag off images",
    openapi_extra=_MEDIA,
)
async def unassign(request: Request, dataset_id: str, tag_id: str) -> Response:
    """Harmless where it is not on them."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    media = _media(await _body(desk, request))
    await asyncio.to_thread(desk.notes.unassign, row.id, _tag(tag_id), media)
    return StrictJson(None)


@routes.get(
    "/dataset/{dataset_id}/rejections",
    response_model=schema.PairsAnswer,
    responses=describe.failures(404, 409),
    summary=describe.EXTENSION + "pairs of images that are not duplicates",
)
async def rejections(request: Request, dataset_id: str) -> Response:
    """As people decided."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    view = await (await desk.machinery()).library.view(row)
    return StrictJson({"pairs": [list(pair) for pair in view.snapshot.rejections]})


@routes.post(
    "/dataset/{dataset_id}/rejections",
    response_model=None,
    responses={**_DONE, **describe.failures(400, 403, 404, 409, 422, 429)},
    summary=describe.EXTENSION + "say that pairs of images are not duplicates",
    openapi_extra=_PAIRS,
)
async def reject(request: Request, dataset_id: str) -> Response:
    """From then on they never share a cluster of duplicates, also after the dataset was indexed again."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    pairs = _pairs(await _body(desk, request))
    library = (await desk.machinery()).library
    await _check_media(desk, row, [id_ for pair in pairs for id_ in pair])
    await library.change(row, lambda data: data.reject_pairs(pairs))
    return StrictJson(None)


@routes.delete(
    "/dataset/{dataset_id}/rejections",
    response_model=None,
    responses={**_DONE, **describe.failures(400, 403, 404, 409, 422, 429)},
    summary=describe.EXTENSION + "say that pairs of images may be duplicates after all",
    openapi_extra=_PAIRS,
)
async def unreject(request: Request, dataset_id: str) -> Response:
    """Harmless where nobody said so."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    pairs = _pairs(await _body(desk, request))
    library = (await desk.machinery()).library
    await library.change(row, lambda data: data.unreject_pairs(pairs))
    return StrictJson(None)


@routes.get(
    "/dataset/{dataset_id}/keepers",
    response_model=schema.KeptAnswer,
    responses=describe.failures(404, 409),
    summary=describe.EXTENSION + "images to keep",
)
async def keepers(request: Request, dataset_id: str) -> Response:
    """As people decided."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    view = await (await desk.machinery()).library.view(row)
    return StrictJson({"media_ids": sorted(view.snapshot.kept)})


@routes.post(
    "/dataset/{dataset_id}/keepers",
    response_model=None,
    responses={**_DONE, **describe.failures(400, 403, 404, 409, 422, 429)},
    summary=describe.EXTENSION + "say that images are to be kept",
    openapi_extra=_MEDIA,
)
async def keep(request: Request, dataset_id: str) -> Response:
    """They come first in their clusters, also after the dataset was indexed again."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    media = _media(await _body(desk, request))
    library = (await desk.machinery()).library
    await _check_media(desk, row, media)
    await library.change(row, lambda data: data.keep(media))
    return StrictJson(None)


@routes.delete(
    "/dataset/{dataset_id}/keepers",
    response_model=None,
    responses={**_DONE, **describe.failures(400, 403, 404, 409, 422, 429)},
    summary=describe.EXTENSION + "say that images need not be kept",
    openapi_extra=_MEDIA,
)
async def unkeep(request: Request, dataset_id: str) -> Response:
    """Harmless where nobody said so."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    media = _media(await _body(desk, request))
    library = (await desk.machinery()).library
    await _check_media(desk, row, media)
    await library.change(row, lambda data: data.unkeep(media))
    return StrictJson(None)


async def _body(desk: Desk, request: Request) -> dict[str, Any]:
    async with desk.bodies.json_object(request) as body:
        return body


def _media(body: dict[str, Any]) -> list[str]:
    return _ids("media_ids", body.get("media_ids"))


def _pairs(body: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = body.get("pairs")
    if not isinstance(pairs, list) or not 1 <= len(pairs) <= _MOST:
        raise InvalidValue(f"pairs takes a list of 1 to {_MOST:,} pairs of media ids")
    found = []
    for place, pair in enumerate(pairs):
        ids = _ids(f"pairs[{place}]", pair)
        if len(pair) != 2 or len(set(ids)) != 2:
            raise InvalidValue(f"pairs[{place}] takes the ids of two different images")
        found.append((ids[0], ids[1]))
    return found


def _ids(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST:
        raise InvalidValue(f"{name} takes a list of 1 to {_MOST:,} media ids")
    return [canonical_uuid(f"{name}[{place}]", id_) for place, id_ in enumerate(value)]


async def _check_media(desk: Desk, row: DatasetRow, media: list[str]) -> None:
    """See that all images are part of the dataset.

    Raises:
        NotFound: naming the first that is not.
    """
    view = await (await desk.machinery()).library.view(row)
    for id_ in media:
        if id_ not in view.snapshot.position:
            raise NotFound(f"Media {id_} not found")


def _tag(text: str) -> str:
    try:
        return canonical_uuid("tag", text)
    except InvalidValue:
        raise NotFound("Tag not found") from None


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk
