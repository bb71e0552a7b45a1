"""Datasets made in one call: of an archive, or of a folder of the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from twinlens.engine.errors import InvalidValue, TwinLensError
from twinlens.service.explore import describe, schema
from twinlens.service.explore.datasets import DatasetRow, Kind, Status
from twinlens.service.explore.deliveries import ARCHIVES, delivery_of_archive, receive
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.intake import INCOMING, Delivery
from twinlens.service.explore.roots import allowed_folder
from twinlens.service.explore.routes_ingestion import NAME, check_idle, check_takes_files, checked_name
from twinlens.service.explore.work import Task
from twinlens.service.json_answers import StrictJson

routes = APIRouter(tags=["ingestion"])
_PROCESS: dict[str, Any] = {
    "response_model": schema.Processing,
    "responses": {
        **describe.failures(),
        400: {"model": schema.ProcessingFailed, "description": "A wrong path."},
    },
    "summary": "Make a dataset of a folder of the operator",
    "openapi_extra": {
        "parameters": [
            describe.query(
                "path", {"type": "string"}, "A folder below those that are allowed.", required=True
            ),
            describe.query("name", NAME, "Of the dataset; that of the folder if not given."),
        ]
    },
}


@routes.get("/process", **_PROCESS)
@routes.post("/process", **_PROCESS)
async def process(request: Request) -> Response:
    """Its files stay where they are and are never changed."""
    desk = _desk(request)
    caller = desk.caller(request)
    try:
        folder = _folder(desk, request.query_params.get("path"))
        name = checked_name("name", request.query_params.get("name") or folder.name)
    except (InvalidValue, BadRequest) as error:
        return _process_failed(error)
    row = await _dataset_of_folder(desk, caller.owner, name, folder)
    return StrictJson(
        {
            "status": "success",
            "message": "Dataset processing started",
            "dataset_id": row.id,
            "name": row.name,
        }
    )


@routes.get(
    "/process/add_media",
    status_code=202,
    response_class=Response,
    responses={
        **describe.failures(403, 404, 409),
        400: {"model": schema.ProcessingFailed, "description": "A wrong path."},
    },
    summary="Add a folder of the operator to a dataset",
    openapi_extra={
        "parameters": [
            describe.query("dataset_id", describe.UUID, "The dataset.", required=True),
            describe.query(
                "path", {"type": "string"}, "A folder below those that are allowed.", required=True
            ),
        ]
    },
)
async def process_add_media(request: Request) -> Response:
    """Poll the status of the dataset until it is READY."""
    desk = _desk(request)
    row = desk.dataset(request, request.query_params.get("dataset_id", ""), change=True)
    check_takes_files(row)
    try:
        folder = _folder(desk, request.query_params.get("path"))
    except (InvalidValue, BadRequest) as error:
        return _process_failed(error)

    def bring() -> None:
        check_idle(desk, row.id)
        desk.datasets.add_source(row.id, folder)

    await desk.supervisor.submit(row.id, Task.ADD, compare=True, bring=bring)
    return Response(status_code=202)


@routes.post(
    "/dataset",
    response_model=schema.Created,
    responses=describe.failures(400, 422),
    summary="Make a dataset of an archive, or of a folder of the operator",
    openapi_extra=describe.multipart(
        {
            "dataset_name": NAME,
            "archive": {**describe.FILE, "description": describe.EXTENSION + describe.ARCHIVE["description"]},
            "bucket_path": {
                "type": "string",
                "description": describe.EXTENSION + "a folder that this server may read; no S3.",
            },
        },
        "dataset_name",
        oneOf=[{"required": ["archive"]}, {"required": ["bucket_path"]}],
    ),
)
async def create_dataset(request: Request) -> Response:
    """An archive is a ZIP or a tar, compressed or not."""
    desk = _desk(request)
    caller = desk.caller(request)
    async with desk.intake.staging(INCOMING) as folder:
        sent = await receive(request, folder, desk.settings, fields=(), archives=ARCHIVES)
        name = checked_name("dataset_name", sent.fields.get("dataset_name"))
        place = sent.fields.get("bucket_path") or sent.fields.get("bucket_name")
        if bool(place) == bool(sent.files):
            raise BadRequest("exactly one of an archive and a bucket_path makes a dataset")
        if place:
            source = _folder(desk, place)
            row = await _dataset_of_folder(desk, caller.owner, name, source)
        else:
            delivery = await asyncio.to_thread(delivery_of_archive, sent, folder, desk.settings)
            row = await _dataset_of_delivery(desk, caller.owner, name, delivery)
    return StrictJson({"dataset_id": row.id, "id": row.id})


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk


def _folder(desk: Desk, path: str | None) -> Path:
    return allowed_folder(path, desk.settings.allowed_roots, desk.settings.home)


async def _dataset_of_delivery(desk: Desk, owner: str, name: str, delivery: Delivery) -> DatasetRow:
    def bring(row: DatasetRow) -> None:
        desk.intake.answered(desk.intake.deliver_at_once(row.id, delivery))

    return await _dataset_with(desk, owner, name, Kind.UPLOAD, bring)


async def _dataset_of_folder(desk: Desk, owner: str, name: str, folder: Path) -> DatasetRow:
    def bring(row: DatasetRow) -> None:
        desk.datasets.add_source(row.id, folder)

    return await _dataset_with(desk, owner, name, Kind.FOLDER, bring)


async def _dataset_with(
    desk: Desk, owner: str, name: str, kind: Kind, bring: Callable[[DatasetRow], None]
) -> DatasetRow:
    """A dataset, what it is made of, and its job: all of that or nothing."""
    folders = desk.settings.datasets_folder
    row = await asyncio.to_thread(desk.datasets.create, owner, name, kind, folders, status=Status.INDEXING)
    try:
        await desk.supervisor.submit(row.id, Task.CREATE, compare=True, bring=lambda: bring(row))
    except BaseException:
        with suppress(TwinLensError):
            await desk.delete(row)
        raise
    return row


def _process_failed(error: Exception) -> Response:
    content: dict[str, Any] = {"status": "error", "message": "Invalid path specified", "detail": str(error)}
    return StrictJson(content, status_code=400)
