"""Exports: asked for, made beside the requests, downloaded under a signed URL."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, StreamingResponse

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore import describe, schema_exports
from twinlens.service.explore.datasets import DatasetRow, check_browsable
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.export_json import iter_json, iter_media_ids_csv
from twinlens.service.explore.export_tasks import ExportRequest, ExportTask, TaskStatus
from twinlens.service.explore.failures import BadRequest, NotFound
from twinlens.service.explore.query import ExploreQuery, parse_query
from twinlens.service.explore.shapes import shown_path
from twinlens.service.explore.values import canonical_uuid, choice, truth_in_text
from twinlens.service.json_answers import StrictJson

if TYPE_CHECKING:
    from twinlens.service.explore.machinery import Machinery

routes = APIRouter(tags=["export"])
_FORMATS = ("json", "parquet")
_LONGEST_NAME = 100
_NAME = {"type": "string"}
_FORMAT = describe.query(
    "export_format", {"type": "string", "enum": list(_FORMATS), "default": "json"}, "Of the metadata."
)
_IMAGES = describe.query(
    "include_images", {"type": "boolean", "default": False}, "Put the originals into the archive."
)
_IDS = {"type": "array", "items": describe.UUID}
_SELECTION = describe.json_body(
    {
        "media_selection": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1000,
            "items": {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": "media"},
                            "payload": {
                                "type": "object",
                                "properties": {"media_ids": _IDS},
                                "required": ["media_ids"],
                            },
                        },
                        "required": ["type", "payload"],
                    },
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": "cluster"},
                            "payload": {
                                "type": "object",
                                "properties": {
                                    "cluster_id": describe.UUID,
                                    "cluster_filters": {"type": "object"},
                                    "exclude_media_ids": _IDS,
                                },
                                "required": ["cluster_id"],
                            },
                        },
                        "required": ["type", "payload"],
                    },
                ]
            },
        }
    },
    "media_selection",
    example={
        "media_selection": [
            {"type": "media", "payload": {"media_ids": ["300dad2c-1234-41f1-8483-5a879df30de4"]}},
        ]
    },
)


@routes.get(
    "/dataset/{dataset_id}/export_context_async",
    response_model=schema_exports.ExportStarted,
    responses=describe.failures(404, 409, 422, 429),
    summary="Export a dataset, or what explore answers to the same parameters",
    openapi_extra={
        "parameters": [
            describe.query("file_name", _NAME, "Of the ZIP; the name of the dataset unless given."),
            _FORMAT,
            _IMAGES,
            *describe.EXPLORE_PARAMETERS,
        ]
    },
)
async def export_context(request: Request, dataset_id: str) -> Response:
    """Poll export_status with the id."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    check_browsable(row)
    query = parse_query(request.query_params.multi_items())
    machinery = await desk.machinery()
    # What cannot be answered is refused now, not when somebody asks what became of it.
    await machinery.pages.answer(row, query)
    return await _start(desk, request, row, query.canonical(), None)


@routes.post(
    "/dataset/{dataset_id}/export_entities_async",
    response_model=schema_exports.ExportStarted,
    responses=describe.failures(400, 404, 409, 422, 429),
    summary="Export chosen images and clusters",
    openapi_extra={
        **_SELECTION,
        "parameters": [
            describe.query("file_name", _NAME, "Of the ZIP; the name of the dataset unless given."),
            _FORMAT,
            _IMAGES,
        ],
    },
)
async def export_entities(request: Request, dataset_id: str) -> Response:
    """Poll export_status with the id."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    check_browsable(row)
    async with desk.bodies.json_object(request) as body:
        selection = _selection(body)
    media = await _selected(await desk.machinery(), desk, row, selection)
    return await _start(desk, request, row, ExploreQuery().canonical(), media)


@routes.get(
    "/dataset/{dataset_id}/export_status",
    response_model=schema_exports.ExportStatusAnswer,
    responses=describe.failures(400, 404),
    summary="How far an export is",
    openapi_extra={
        "parameters": [describe.query("export_task_id", describe.UUID, "Of the export.", required=True)]
    },
)
async def export_status(request: Request, dataset_id: str) -> Response:
    """Poll until it is COMPLETED, FAILED or REJECTED; then download `download_uri`."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    id_ = request.query_params.get("export_task_id")
    if not id_:
        raise BadRequest("export_task_id is missing: name the export")
    task = await asyncio.to_thread(desk.exports.find, row.id, id_)
    done = task.status is TaskStatus.COMPLETED
    return StrictJson(
        {
            "id": task.id,
            "dataset_id": row.id,
            "created_at": task.created,
            "download_uri": desk.links(request).export(row.id, task.id, _zip_name(task)) if done else None,
            "progress": task.progress,
            "status": task.status.value,
            "entities_count": task.entities,
            "result_message": task.message,
        }
    )


@routes.get(
    "/dataset/{dataset_id}/exports/{export_id}/{file_name}",
    response_class=Response,
    responses={
        200: {"content": {"application/zip": {"schema": describe.FILE}}, "description": "The ZIP."},
        **describe.failures(403, 404, signed=True),
    },
    summary=describe.EXTENSION + "download an export",
    openapi_extra={
        "parameters": describe.SIGNATURE,
        "security": [],
    },
)
async def download(request: Request, dataset_id: str, export_id: str, file_name: str) -> Response:
    """`download_uri` of export_status."""
    desk = _desk(request)
    row = desk.signed(request, dataset_id)
    task = await asyncio.to_thread(desk.exports.find, row.id, export_id)
    path = (await desk.machinery()).exporter.file(task)
    if not await asyncio.to_thread(path.is_file):
        raise NotFound("this export is gone: ask for another")
    headers = {"x-content-type-options": "nosniff"}
    return FileResponse(path, media_type="application/zip", filename=_zip_name(task), headers=headers)


@routes.get(
    "/dataset/{dataset_id}/export",
    response_model=schema_exports.ExportDocument,
    responses=describe.failures(404, 409, 422, 429),
    summary="Metadata of a dataset at once, as JSON",
    openapi_extra={
        "parameters": [
            describe.query(
                "export_format", {"type": "string", "enum": ["json"], "default": "json"}, "JSON only."
            ),
            *describe.EXPLORE_PARAMETERS,
        ]
    },
)
async def export(request: Request, dataset_id: str) -> Response:
    """What metadata.json of an export holds."""
    desk = _desk(request)
    caller = desk.caller(request)
    row = desk.dataset(request, dataset_id)
    fmt = request.query_params.get("export_format") or "json"
    if fmt != "json":
        raise InvalidValue(
            f"export_format is {fmt[:100]!r}: at once there is json; ask export_context_async for others"
        )
    query = parse_query(request.query_params.multi_items())
    machinery = await desk.machinery()
    contents = await machinery.contents(row, query)
    links = desk.links(request)
    info = await machinery.library.run(lambda: contents.info(links.base, caller.name or "anonymous"))
    return StreamingResponse(iter_json(info, contents.items(links)), media_type="application/json")


@routes.get(
    "/dataset/{dataset_id}/export_media_id",
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "filename,media_id"},
        **describe.failures(404, 409),
    },
    summary="Names and ids of all images, as CSV",
)
async def export_media_id(request: Request, dataset_id: str) -> Response:
    """Columns filename and media_id."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    view = await (await desk.machinery()).library.view(row)
    names = ((shown_path(row, image), image.id) for image in view.snapshot.images)
    return StreamingResponse(iter_media_ids_csv(names), media_type="text/csv; charset=utf-8")


async def _start(
    desk: Desk, request: Request, row: DatasetRow, question: str, media: list[str] | None
) -> Response:
    asked = request.query_params
    fmt = choice("export_format", asked.get("export_format") or "json", _FORMATS)
    caller = desk.caller(request)
    wanted = ExportRequest(
        file_name=_file_name(asked.get("file_name") or row.name),
        fmt=fmt,
        include_images=truth_in_text("include_images", asked.get("include_images") or "false"),
        question=question,
        media=media,
        base=desk.links(request).base,
        owner_name=caller.name or "anonymous",
    )
    task = await (await desk.machinery()).exporter.submit(row, caller.owner, wanted)
    return StrictJson({"id": task.id})


def _selection(body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Kinds and payloads of what was chosen.

    Raises:
        InvalidValue: another form.
    """
    chosen = body.get("media_selection")
    if not isinstance(chosen, list) or not 1 <= len(chosen) <= 1000:
        raise InvalidValue("media_selection takes a list of 1 to 1,000 selections")
    found = []
    for place, one in enumerate(chosen):
        kind = one.get("type") if isinstance(one, dict) else None
        payload = one.get("payload") if isinstance(one, dict) else None
        if kind not in ("media", "cluster") or not isinstance(payload, dict):
            raise InvalidValue(
                f'media_selection[{place}] takes {{"type":"media"|"cluster","payload":{{...}}}}'
            )
        found.append((str(kind), payload))
    return found


async def _selected(
    machinery: Machinery, desk: Desk, row: DatasetRow, selection: list[tuple[str, dict[str, Any]]]
) -> list[str]:
    """Ids of all chosen images, each once.

    Raises:
        InvalidValue: an id of another form.
        NotFound: an image or a cluster that is not there.
    """
    view = await machinery.library.view(row)
    media: dict[str, None] = {}
    for place, (kind, payload) in enumerate(selection):
        where = f"media_selection[{place}].payload"
        if kind == "media":
            ids = _ids(f"{where}.media_ids", payload.get("media_ids"))
        else:
            cluster = canonical_uuid(f"{where}.cluster_id", payload.get("cluster_id"))
            left_out = set(_ids(f"{where}.exclude_media_ids", payload.get("exclude_media_ids", [])))
            _check_filters(f"{where}.cluster_filters", payload.get("cluster_filters", {}))
            members = await machinery.pages.member_ids(row, cluster)
            ids = [id_ for id_ in members if id_ not in left_out]
        for id_ in ids:
            if id_ not in view.snapshot.position:
                raise NotFound(f"Media {id_} not found")
        media.update(dict.fromkeys(ids))
    return list(media)


def _ids(name: str, value: object) -> list[str]:
    if not isinstance(value, list):
        raise InvalidValue(f"{name} takes a list of media ids")
    return [canonical_uuid(f"{name}[{place}]", id_) for place, id_ in enumerate(value)]


def _check_filters(name: str, value: object) -> None:
    """A cluster that was given out needs no filters to be found again; what they may be is not looked at."""
    if not isinstance(value, dict):
        raise InvalidValue(f"{name} takes an object, such as {{}}")


def _file_name(name: str) -> str:
    """A name that every file system and every header takes."""
    base = os.path.basename(name.replace("\\", "/"))
    base = base[:-4] if base.lower().endswith(".zip") else base
    return re.sub(r"[^A-Za-z0-9._-]+", "_", base).strip("._")[:_LONGEST_NAME] or "export"


def _zip_name(task: ExportTask) -> str:
    return f"{task.request.file_name}.zip"


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk
