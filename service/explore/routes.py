"""`/api/v1/...`: all routes of the dialect, and how it says that something failed: `{"detail": "..."}`."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from twinlens.engine.errors import (
    AuthRequired,
    DatasetError,
    DatasetLocked,
    DecodeError,
    InputError,
    InvalidValue,
    ModelError,
    StorageFull,
    TooManyPairs,
    TwinLensError,
)
from twinlens.service.bodies import BodyTooLarge, Busy, TooSlow
from twinlens.service.explore import (
    routes_annotations,
    routes_creation,
    routes_datasets,
    routes_explore,
    routes_exports,
    routes_ingestion,
    routes_media,
)
from twinlens.service.explore.batching import BatchFailed, Closing
from twinlens.service.explore.export_items import ItemsChanged
from twinlens.service.explore.failures import BadRequest, Conflict, Forbidden, NotFound
from twinlens.service.json_answers import StrictJson

PREFIX = "/api/v1"
_PARTS = tuple(
    part.routes
    for part in (
        routes_ingestion,
        routes_creation,
        routes_datasets,
        routes_explore,
        routes_media,
        routes_annotations,
        routes_exports,
    )
)
_SEE_LOG = "its log says more under the request id in the header x-request-id"
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (AuthRequired, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (DatasetLocked, 409),
    (ItemsChanged, 409),
    (Busy, 429),
    (BadRequest, 400),
    (BodyTooLarge, 400),
    (TooSlow, 400),
    (DecodeError, 400),
    (TooManyPairs, 422),
    (InvalidValue, 422),
    (InputError, 400),
    (Closing, 503),
)


def router() -> APIRouter:
    """All routes of the dialect."""
    routes = APIRouter(prefix=PREFIX)
    for part in _PARTS:
        routes.include_router(part)
    return routes


def failure(request: Request, error: Exception) -> Response:
    """The answer to a request that failed."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return StrictJson({"detail": _text(error)}, status_code=code, headers=_headers(code))
    # Where the server keeps things is told by its log alone.
    if isinstance(error, StorageFull):
        text = "no room is left on the disk of the server: try again when there is"
        return StrictJson({"detail": text}, status_code=503)
    if isinstance(error, ModelError):
        return StrictJson({"detail": f"the model cannot be used: {error}"}, status_code=503)
    if isinstance(error, DatasetError):
        return StrictJson({"detail": f"the dataset cannot be used now: {_SEE_LOG}"}, status_code=503)
    if isinstance(error, TwinLensError) and not isinstance(error, BatchFailed):
        return StrictJson(
            {"detail": f"the server cannot use its data folder now: {_SEE_LOG}"}, status_code=503
        )
    return StrictJson({"detail": f"the server failed at this request: {_SEE_LOG}"}, status_code=500)


def meant(request: Request, error: Exception) -> Exception:
    """The failure itself; what failed because its dataset was deleted meanwhile is "not found"."""
    services = request.app.state.services
    if not isinstance(error, InputError) and services.explore.is_gone(request):
        return NotFound("Dataset not found")
    return error


def http_failure(request: Request, code: int, headers: Mapping[str, str] | None) -> Response:
    """The answer to a path or a verb that is not served."""
    text = {
        404: f"there is no {request.url.path} here: /docs shows what there is",
        405: f"{request.method} is not served here: /docs shows what is",
    }.get(code, "this request is not served")
    given = {"allow": _verbs(request.url.path)} if code == 405 else dict(headers or {})
    return StrictJson({"detail": text}, status_code=code, headers=given)


def _verbs(path: str) -> str:
    """All that a path is served with: a route knows its own verbs only, and several may share a path."""
    below = path.removeprefix(PREFIX)
    routes = [route for part in _PARTS for route in part.routes if isinstance(route, APIRoute)]
    return ", ".join(
        sorted({verb for each in routes if each.path_regex.match(below) for verb in each.methods or ()})
    )


def _text(error: Exception) -> str:
    if isinstance(error, DecodeError):
        return f"the image cannot be read: {error.reason}"
    if isinstance(error, DatasetLocked):
        return "the dataset is being written by another process: try again when it has finished"
    return str(error)


def _headers(code: int) -> dict[str, str] | None:
    return {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(code)
