"""Bytes of images under signed URLs, so that an `<img>` tag can load them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from twinlens.engine.decode import read_bytes
from twinlens.engine.errors import DecodeError
from twinlens.service.explore import describe
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import NotFound
from twinlens.service.explore.links import IMAGE, THUMBNAIL
from twinlens.service.explore.values import media_id_in

if TYPE_CHECKING:
    from twinlens.engine.catalog import ImageRecord

routes = APIRouter(tags=["media"])
_CHUNK = 1 << 18
_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "heif": "image/heic",
    "avif": "image/avif",
}
# What was uploaded is shown as an image and as nothing else, whatever is hidden in it.
_SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
}


@routes.get(
    "/dataset/{dataset_id}/media/{media_id}/" + IMAGE,
    response_class=Response,
    responses={
        200: {
            "content": {kind: {"schema": describe.FILE} for kind in _TYPES.values()},
            "description": "The file, as it is.",
        },
        **describe.failures(403, 404, 409, signed=True),
    },
    summary=describe.EXTENSION + "the file of an image",
    openapi_extra={"parameters": describe.SIGNATURE, "security": []},
)
async def image(request: Request, dataset_id: str, media_id: str) -> Response:
    """`media_uri` of an answer."""
    desk = _desk(request)
    row, id_ = desk.signed(request, dataset_id), media_id_in(media_id)
    view = await (await desk.machinery()).library.view(row)
    if id_ not in view.snapshot.position:
        raise NotFound("Media not found")
    found = view.snapshot.find(id_)
    if (member := await asyncio.to_thread(_in_archive, found)) is not None:
        return Response(member, media_type=_TYPES[found.format], headers={**_SAFE, **_cached(request)})
    file = await asyncio.to_thread(_open, found.file) if found.digest is not None else None
    if file is None or os.fstat(file).st_size != found.size:
        if file is not None:
            os.close(file)
        raise NotFound("the file of this image is gone, or another one by now: index the dataset again")
    headers = {**_SAFE, "content-length": str(found.size), **_cached(request)}
    return StreamingResponse(_chunks(file), media_type=_TYPES[found.format], headers=headers)


@routes.get(
    "/dataset/{dataset_id}/media/{media_id}/" + THUMBNAIL,
    response_class=Response,
    responses={
        200: {"content": {"image/webp": {"schema": describe.FILE}}, "description": "A small WebP."},
        **describe.failures(403, 404, 409, signed=True),
    },
    summary=describe.EXTENSION + "a preview of an image",
    openapi_extra={"parameters": describe.SIGNATURE, "security": []},
)
async def thumbnail(request: Request, dataset_id: str, media_id: str) -> Response:
    """`media_thumb_uri` of an answer."""
    desk = _desk(request)
    row, id_ = desk.signed(request, dataset_id), media_id_in(media_id)
    library = (await desk.machinery()).library
    view = await library.view(row)
    if id_ not in view.snapshot.position:
        raise NotFound("Media not found")
    place = view.snapshot.find(id_).row
    preview = await asyncio.to_thread(library.previews(row).read_webp, place, id_)
    if preview is None:
        raise NotFound("this image has no preview")
    return Response(preview, media_type="image/webp", headers={**_SAFE, **_cached(request)})


def _in_archive(image: ImageRecord) -> bytes | None:
    """The bytes of an image that lies in an archive, if they are still there."""
    if image.digest is None or os.path.exists(image.file):
        return None
    try:
        data = read_bytes(image.file)
    except DecodeError:
        return None
    return data if len(data) == image.size else None


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _chunks(file: int) -> Iterator[bytes]:
    with os.fdopen(file, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _cached(request: Request) -> dict[str, str]:
    """Browsers may keep an image as long as its URL is good."""
    left = max(int(request.query_params["expires"]) - int(time.time()), 0)
    return {"cache-control": f"private, max-age={left}"}


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk
