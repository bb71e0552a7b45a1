"""How datasets come to be: uploads in four calls, archives, folders of the operator; more images later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask

from twinlens.engine.errors import InvalidValue, TwinLensError
from twinlens.service.explore import describe, schema
from twinlens.service.explore.datasets import DatasetRow, Kind, Status
from twinlens.service.explore.deliveries import (
    ARCHIVES,
    FILES,
    delivery_of_archive,
    delivery_of_files,
    receive,
)
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import BadRequest, Conflict, Forbidden, NotFound
from twinlens.service.explore.intake import INCOMING, Delivery
from twinlens.service.explore.roots import NO_S3, allowed_folder
from twinlens.service.explore.uploads import Upload
from twinlens.service.explore.values import name_in_text, truth_in_text
from twinlens.service.explore.work import Task
from twinlens.service.json_answers import StrictJson

routes = APIRouter(tags=["ingestion"])
_LONGEST_NAME = 255
_NAME = describe.name(_LONGEST_NAME)
_ONE_SOURCE = "Exactly one media source must be provided: files[], s3_uri, or archive"


@routes.get(
    "/ingestion/new_dataset",
    response_model=schema.Created,
    responses=describe.failures(400, 422),
    summary="Begin a dataset that files are uploaded to",
    openapi_extra={"parameters": [describe.query("dataset_name", _NAME, "For people.", required=True)]},
)
async def new_dataset(request: Request) -> Response:
    """It is a DRAFT until files were uploaded and processed."""
    desk = _desk(request)
    caller = desk.caller(request)
    name = checked_name("dataset_name", request.query_params.get("dataset_name"))
    row = await asyncio.to_thread(
        desk.datasets.create,
        caller.owner,
        name,
        Kind.UPLOAD,
        desk.settings.datasets_folder,
        status=Status.DRAFT,
    )
    return StrictJson({"dataset_id": row.id, "id": row.id})


@routes.get(
    "/ingestion/{dataset_id}/data_files",
    response_model=schema.Transaction,
    responses=describe.failures(403, 404),
    summary="Begin a transaction of uploads",
)
async def data_files(request: Request, dataset_id: str) -> Response:
    """Any number of requests may upload files to it."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    _check_takes_files(row)
    return StrictJson({"trans_id": await asyncio.to_thread(desk.intake.begin, row.id)})


@routes.post(
    "/ingestion/{dataset_id}/data_files/{transaction_id}",
    status_code=202,
    response_class=Response,
    responses=describe.failures(400, 403, 404, 422),
    summary="Upload files",
    openapi_extra=describe.multipart({"files": describe.FILES}, "files"),
)
async def upload(request: Request, dataset_id: str, transaction_id: str) -> Response:
    """All files of a request are taken, or none.

    `image_annotations.csv` or `.parquet` among them gives labels: columns filename, label, caption.
    """
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    number = _number(transaction_id)
    await asyncio.to_thread(desk.intake.check_open, row.id, number)
    async with desk.intake.staging(row.id) as folder:
        sent = await receive(request, folder, desk.settings, fields=FILES)
        delivery = await asyncio.to_thread(delivery_of_files, sent, folder, desk.settings)
        taken = await asyncio.to_thread(desk.intake.deliver, row.id, number, delivery)
    return await _accepted(desk, request, taken)


@routes.post(
    "/ingestion/{dataset_id}/process_files/{transaction_id}",
    status_code=202,
    response_class=Response,
    responses=describe.failures(400, 403, 404),
    summary="Index what was uploaded",
)
async def process_files(request: Request, dataset_id: str, transaction_id: str) -> Response:
    """Poll the status of the dataset until it is READY."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    handed_over = await asyncio.to_thread(desk.intake.hand_over, row.id, _number(transaction_id))
    # Asked for again: an earlier request may have failed half-way.
    if handed_over or not await asyncio.to_thread(desk.intake.is_settled, row.id):
        await desk.supervisor.take_in(row.id)
    return Response(status_code=202)


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
            describe.query("name", _NAME, "Of the dataset; that of the folder if not given."),
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
    _check_takes_files(row)
    try:
        folder = _folder(desk, request.query_params.get("path"))
    except (InvalidValue, BadRequest) as error:
        return _process_failed(error)

    def bring() -> None:
        _check_idle(desk.datasets.find(row.id))
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
            "dataset_name": _NAME,
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


@routes.post(
    "/dataset/{dataset_id}/add_media",
    status_code=202,
    response_class=Response,
    responses=describe.failures(400, 403, 404, 409, 422),
    summary="Add images to a dataset",
    openapi_extra=describe.multipart(
        {
            "files": describe.FILES,
            "archive": describe.ARCHIVE,
            "auto_reindex": {"type": "boolean", "default": False},
        },
        oneOf=[{"required": ["files"]}, {"required": ["archive"]}],
    ),
)
async def add_media(request: Request, dataset_id: str) -> Response:
    """They take part in clusters after a reindex, which `auto_reindex` asks for at once."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    _check_takes_files(row)
    _check_idle(row)
    async with desk.intake.staging(row.id) as folder:
        sent = await receive(request, folder, desk.settings, fields=FILES, archives=("archive",))
        auto = truth_in_text("auto_reindex", sent.fields.get("auto_reindex") or "false")
        delivery = await asyncio.to_thread(_delivery, desk, sent, folder)

        def bring() -> int:
            # Looked at again: another request may have begun meanwhile.
            _check_idle(desk.datasets.find(row.id))
            return desk.intake.deliver_at_once(row.id, delivery)

        taken = await desk.supervisor.submit(row.id, Task.ADD, compare=auto, bring=bring)
    return await _accepted(desk, request, taken)


@routes.post(
    "/dataset/{dataset_id}/reindex",
    status_code=202,
    response_class=Response,
    responses=describe.failures(403, 404, 409),
    summary="Compare what was added",
)
async def reindex(request: Request, dataset_id: str) -> Response:
    """For a dataset that is in PARTIAL INDEX, and for one in ERROR, whose work goes on."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)

    def check() -> None:
        status = desk.datasets.find(row.id).status
        if status not in (Status.PARTIAL_INDEX, Status.ERROR):
            raise Conflict(f"Operation 'reindex' needs a dataset in PARTIAL INDEX, and this one is {status}")

    await desk.supervisor.submit(row.id, Task.REINDEX, compare=True, bring=check)
    return Response(status_code=202)


def checked_name(parameter: str, name: str | None) -> str:
    """The name of a dataset.

    Raises:
        BadRequest: none is given.
        InvalidValue: no such name is served.
    """
    if not name or not name.strip():
        raise BadRequest(f"{parameter} is missing: name the dataset")
    return name_in_text(parameter, name, _LONGEST_NAME)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk


def _folder(desk: Desk, path: str | None) -> Path:
    return allowed_folder(path, desk.settings.allowed_roots, desk.settings.home)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"Transaction {text[:100]} not found")
    return int(text)


def _check_takes_files(row: DatasetRow) -> None:
    if row.kind is Kind.MOUNT:
        raise Forbidden(
            "Add media feature is not enabled for a dataset made on the command line: use `twinlens index`"
        )


def _check_idle(row: DatasetRow) -> None:
    if row.status in (Status.READY, Status.PARTIAL_INDEX):
        return
    if row.status is Status.READ_ONLY:
        raise Conflict("Operation 'add_media' is blocked while MEDIA_ADDITION task is running")
    raise Conflict(f"Operation 'add_media' needs a dataset that is READY, and this one is {row.status}")


def _delivery(desk: Desk, sent: Upload, folder: Path) -> Delivery:
    if "s3_uri" in sent.fields:
        raise InvalidValue(NO_S3)
    archives = [file for file in sent.files if file.field == "archive"]
    if not sent.files or (archives and len(sent.files) > 1):
        raise BadRequest(_ONE_SOURCE)
    if archives:
        return delivery_of_archive(sent, folder, desk.settings)
    return delivery_of_files(sent, folder, desk.settings)


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


async def _accepted(desk: Desk, request: Request, taken: int) -> Response:
    """202, and once the client has it, the same files sent again are other files.

    One that hung up, because it waited long enough, will send them again.
    """
    if getattr(request.state, "hung_up", False) or await request.is_disconnected():
        return Response(status_code=202)
    return Response(
        status_code=202, background=BackgroundTask(asyncio.to_thread, desk.intake.answered, taken)
    )


def _process_failed(error: Exception) -> Response:
    content: dict[str, Any] = {"status": "error", "message": "Invalid path specified", "detail": str(error)}
    return StrictJson(content, status_code=400)
