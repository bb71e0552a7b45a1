"""Datasets as they are: states, lists, sharing, failures, deletion."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fastapi import APIRouter, Request, Response

from twinlens import __version__
from twinlens.engine.errors import InvalidValue
from twinlens.service.explore import describe, schema
from twinlens.service.explore.datasets import BROWSABLE, Role, Status
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import NotFound
from twinlens.service.explore.shapes import dataset_json, in_utf8
from twinlens.service.explore.values import truth_in_text
from twinlens.service.json_answers import StrictJson

routes = APIRouter(tags=["datasets"])
_SORTS = ("date", "name")
_GRANT = describe.json_body(
    {"grant_to_user_email": {"type": "string", "minLength": 1}},
    "grant_to_user_email",
    example={"grant_to_user_email": "name of a key"},
)
_SORT = {"type": "string", "enum": list(_SORTS), "default": "date"}


@routes.get(
    "/healthcheck",
    response_model=schema.Health,
    summary="Is it up?",
    openapi_extra={"security": []},
)
async def healthcheck() -> Response:
    """Asks for no key."""
    return StrictJson({"status": "Green", "service-health-message": "none", "version": __version__})


@routes.get(
    "/datasets",
    response_model=list[schema.DatasetAnswer],
    responses=describe.failures(422),
    summary="All datasets that the caller may see",
    openapi_extra={
        "parameters": [
            describe.query("sort_by", _SORT, "Order."),
            describe.query(
                "include_hidden", {"type": "boolean", "default": False}, "No dataset is hidden here."
            ),
        ]
    },
)
async def list_datasets(request: Request) -> Response:
    """The newest first, or by name."""
    desk = _desk(request)
    rows = desk.of_caller(request)
    by = request.query_params.get("sort_by") or "date"
    if by not in _SORTS:
        raise InvalidValue(f"sort_by is {by[:100]!r}: it takes {' or '.join(_SORTS)}")
    truth_in_text("include_hidden", request.query_params.get("include_hidden") or "false")
    if by == "name":
        rows.sort(key=lambda row: (row.name, row.id))
    names = {owner: desk.name_of(owner) for owner in {row.owner for row in rows}}
    return StrictJson([dataset_json(row, names[row.owner]) for row in rows])


@routes.get(
    "/dataset/{dataset_id}",
    response_model=schema.DatasetAnswer,
    responses=describe.failures(404),
    summary="State of a dataset",
)
async def dataset(request: Request, dataset_id: str) -> Response:
    """`status_new` goes from DRAFT over INDEXING to READY, or to ERROR: `fatal_error_msg` says why."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    return StrictJson(dataset_json(row, desk.name_of(row.owner)))


@routes.get(
    "/datasets/{dataset_id}/creation-status",
    response_model=schema.CreationStatus,
    responses=describe.failures(404),
    summary="How far a dataset is",
)
async def creation_status(request: Request, dataset_id: str) -> Response:
    """The same as `status_new` and `progress` of the dataset."""
    desk = _desk(request)
    told = dataset_json(desk.dataset(request, dataset_id), "")
    return StrictJson({"status": told["status_new"], "progress": told["progress"]})


@routes.delete(
    "/dataset/{dataset_id}",
    response_model=None,
    responses={**describe.done("It is gone."), **describe.failures(403, 404)},
    summary="Delete a dataset",
)
async def delete_dataset(request: Request, dataset_id: str) -> Response:
    """With all that was uploaded to it. Folders of the operator stay as they are."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    await desk.delete(row)
    return StrictJson(None)


@routes.get(
    "/dataset/{dataset_id}/failures",
    response_model=list[schema.FailureAnswer],
    responses=describe.failures(404, 409),
    summary=describe.EXTENSION + "files that are not part of a dataset, and why",
)
async def list_failures(request: Request, dataset_id: str) -> Response:
    """Broken files, unreadable members of archives."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    found = [
        {"file_name": in_utf8(name), "stage": "unpack", "reason": reason, "retryable": False}
        for name, reason in await asyncio.to_thread(desk.intake.left_out, row.id)
    ]
    has_catalog = row.status is Status.ERROR and await asyncio.to_thread(_has_catalog, row.folder)
    if row.status in BROWSABLE or has_catalog:
        library = (await desk.machinery()).library
        failures = await library.ask(row, lambda data: data.failures())
        found += [
            {
                "file_name": in_utf8(os.path.basename(each.path)),
                "stage": each.stage,
                "reason": each.reason,
                "retryable": each.retryable,
            }
            for each in failures
        ]
    return StrictJson(found)


@routes.put(
    "/manage/{dataset_id}/invite",
    response_model=None,
    responses={**describe.done("It is shared."), **describe.failures(400, 403, 404, 409, 422, 429)},
    summary="Share a dataset with another key, to be seen",
    openapi_extra=_GRANT,
)
async def invite(request: Request, dataset_id: str) -> Response:
    """This server knows keys, not e-mail addresses: give the name or the id of one."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    grantee = await _grantee(desk, request)
    await asyncio.to_thread(desk.datasets.share, row, grantee)
    return StrictJson(None)


@routes.delete(
    "/manage/{dataset_id}/invite",
    response_model=None,
    responses={**describe.done("It is not shared."), **describe.failures(400, 403, 404, 422, 429)},
    summary=describe.EXTENSION + "take a share back",
    openapi_extra=_GRANT,
)
async def uninvite(request: Request, dataset_id: str) -> Response:
    """Harmless where it was not shared."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id, change=True)
    grantee = await _grantee(desk, request)
    await asyncio.to_thread(desk.datasets.unshare, row, grantee)
    return StrictJson(None)


@routes.get(
    "/manage/{dataset_id}/share",
    response_model=list[schema.ShareAnswer],
    responses=describe.failures(404),
    summary="Who may see a dataset",
)
async def shares(request: Request, dataset_id: str) -> Response:
    """Names of keys in place of e-mail addresses."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    found = await asyncio.to_thread(desk.datasets.shares, row)
    return StrictJson(
        [{"email": desk.name_of(each.api_key), "role": Role(each.role).value} for each in found]
    )


def _has_catalog(folder: Path) -> bool:
    # Imported late: a server without datasets never loads the engine.
    from twinlens.engine.catalog import catalog_path

    return catalog_path(folder).is_file()


async def _grantee(desk: Desk, request: Request) -> str:
    async with desk.bodies.json_object(request) as body:
        name = body.get("grant_to_user_email")
    if not isinstance(name, str) or not name:
        raise InvalidValue("grant_to_user_email takes the name or the id of an API key")
    live = [key for key in desk.keys.list() if key.revoked is None]
    for key in live:
        if name in (key.api_key, key.name):
            return key.api_key
    raise NotFound(f"no live API key is called {name[:100]!r}")


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk
