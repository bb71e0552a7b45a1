"""How files come into datasets: uploads in four calls, and more of them later."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore import describe, schema
from twinlens.service.explore.datasets import DatasetRow, Kind, Status
from twinlens.service.explore.deliveries import FILES, delivery_of_archive, delivery_of_files, receive
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import BadRequest, Conflict, Forbidden, NotFound
from twinlens.service.explore.intake import Delivery
from twinlens.service.explore.roots import NO_S3
from twinlens.service.explore.uploads import Upload
from twinlens.service.explore.values import name_in_text, truth_in_text
from twinlens.service.explore.work import Task
from twinlens.service.json_answers import StrictJson

routes = APIRouter(tags=["ingestion"])
_LONGEST_NAME = 255
NAME = describe.name(_LONGEST_NAME)
"""Schema of the name of a dataset."""

_ONE_SOURCE = "Exactly one media source must be provided: files[], s3_uri, or archive"


@routes.get(
    "/ingestion/new_dataset",
    response_model=schema.Created,
    responses=describe.failures(400, 422),
    summary="Begin a dataset that files are uploaded to",
    openapi_extra={"parameters": [describe.query("dataset_name", NAME, "For people.", required=True)]},
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
    check_takes_files(row)
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
    check_takes_files(row)
    check_idle(desk, row.id)
    async with desk.intake.staging(row.id) as folder:
        sent = await receive(request, folder, desk.settings, fields=FILES, archives=("archive",))
        auto = truth_in_text("auto_reindex", sent.fields.get("auto_reindex") or "false")
        delivery = await asyncio.to_thread(_delivery, desk, sent, folder)

        def bring() -> int:
            # Looked at again: another request may have begun meanwhile.
            check_idle(desk, row.id)
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


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"Transaction {text[:100]} not found")
    return int(text)


def check_takes_files(row: DatasetRow) -> None:
    """See that files may be added to a dataset.

    Raises:
        Forbidden: it was made on the command line.
    """
    if row.kind is Kind.MOUNT:
        raise Forbidden(
            "Add media feature is not enabled for a dataset made on the command line: use `twinlens index`"
        )


def check_idle(desk: Desk, id_: str) -> None:
    """See that a dataset takes an addition now.

    Raises:
        NotFound: it is gone.
        Conflict: it has a job, or is in a state that takes none.
    """
    row = desk.datasets.find(id_)
    if row.status in (Status.READY, Status.PARTIAL_INDEX):
        return
    if row.status is Status.READ_ONLY:
        task = desk.work.open_task(id_) or Task.ADD
        raise Conflict(f"Operation 'add_media' is blocked while {task} task is running")
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


async def _accepted(desk: Desk, request: Request, taken: int) -> Response:
    """202, and once the client has it, the same files sent again are other files.

    One that hung up, because it waited long enough, will send them again.
    """
    if getattr(request.state, "hung_up", False) or await request.is_disconnected():
        return Response(status_code=202)
    return Response(
        status_code=202, background=BackgroundTask(asyncio.to_thread, desk.intake.answered, taken)
    )
