"""`/image_matching/v2/...`: every method is POST with a JSON object, and answers one.

The form of every answer, of failures too, is this dialect's: a `status` object with the code that counts.
HTTP says 200 wherever the request as a whole was served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from twinlens.engine.errors import AuthRequired, InputError, InvalidValue, TwinLensError
from twinlens.service.auth import authenticate_token
from twinlens.service.bodies import Busy
from twinlens.service.json_answers import StrictJson
from twinlens.service.matching import collection_methods, examples, methods, openapi, schema
from twinlens.service.matching.call import Call
from twinlens.service.matching.records import JsonObject
from twinlens.service.matching.status import (
    BUSY,
    FAILED,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    UNAUTHORIZED,
    UNAVAILABLE,
    RequestIds,
)
from twinlens.service.services import Services
from twinlens.service.settings import Settings

PREFIX = "/image_matching/v2"
DEFAULT_COLLECTION = "default"
_LONGEST_COLLECTION = 200
_PING_VERBS = ("POST", "GET")
_SEE_LOG = "its log says more under the request_id"


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table of methods.

    Attributes:
        name: last part of the path.
        run: answers a request.
        asked: what a request must hold.
        answer: what its answer holds, for OpenAPI.
        collection: True if it works on the collection that the header `collection-id` names.
        paged: True if it reads `size` and `page` from the URL.
        limit: the setting that says how many records a request may bring.
    """

    name: str
    run: Callable[[Call, Any], Awaitable[JsonObject]]
    asked: type[schema.Asked]
    answer: type[schema.Answer]
    collection: bool = True
    paged: bool = False
    limit: str = "max_records"


METHODS = (
    Method(
        "visual_hash",
        methods.visual_hash,
        schema.VisualHash,
        schema.RecordsAnswer,
        collection=False,
        limit="max_hash_records",
    ),
    Method(
        "remove_duplicates",
        methods.remove_duplicates,
        schema.RemoveDuplicates,
        schema.RecordsAnswer,
        collection=False,
    ),
    Method("rank_images", methods.rank_images, schema.RankImages, schema.RankAnswer, collection=False),
    Method("insert", collection_methods.insert, schema.Insert, schema.CollectionAnswer),
    Method("get", collection_methods.get, schema.Get, schema.CollectionAnswer),
    Method("update", collection_methods.update, schema.Update, schema.CollectionAnswer),
    Method("delete", collection_methods.delete, schema.Delete, schema.CollectionAnswer),
    Method("visualKNN", collection_methods.visual_knn, schema.VisualKNN, schema.NeighboursAnswer),
    Method(
        "nearDuplicates", collection_methods.near_duplicates, schema.NearDuplicates, schema.NeighboursAnswer
    ),
    Method(
        "visualRankRecords",
        collection_methods.visual_rank_records,
        schema.VisualRankRecords,
        schema.NeighboursAnswer,
    ),
    Method("random", collection_methods.random, schema.Random, schema.CollectionAnswer),
    Method("allRecords", collection_methods.all_records, schema.AllRecords, schema.PageAnswer, paged=True),
)


def router(settings: Settings) -> APIRouter:
    """All routes of the dialect, described with the limits of the server.

    A slash at the end of a path is the same path.
    """
    routes = APIRouter(prefix=PREFIX, tags=["image matching"])
    for path, shown in (("/ping", True), ("/ping/", False)):
        for verb in _PING_VERBS:
            routes.add_api_route(
                path,
                _ping,
                methods=[verb],
                include_in_schema=shown,
                name=f"ping by {verb}",
                summary="Who answers",
                responses=openapi.responses(schema.Pong, methods.PONG, ping=True),
            )
    for method in METHODS:
        for path, shown in ((f"/{method.name}", True), (f"/{method.name}/", False)):
            routes.add_api_route(
                path,
                _endpoint(method),
                methods=["POST"],
                include_in_schema=shown,
                name=method.name,
                summary=(method.asked.__doc__ or "").strip(),
                description=(method.run.__doc__ or "").strip(),
                responses=openapi.responses(method.answer, examples.ANSWERS[method.name]),
                openapi_extra=openapi.request(
                    method.asked,
                    examples.REQUESTS[method.name],
                    most=getattr(settings, method.limit),
                    collection=method.collection,
                    paged=method.paged,
                ),
            )
    return routes


def failure(request: Request, error: Exception) -> Response:
    """The answer to a request that failed as a whole."""
    if isinstance(error, AuthRequired):
        return denied(request, error.reason)
    if isinstance(error, Busy):
        return failed(request, BUSY, str(error), headers={"Retry-After": "1"})
    if isinstance(error, InputError):
        return failed(request, FAILED, str(error))
    if isinstance(error, TwinLensError):
        return failed(request, UNAVAILABLE, f"the server cannot use its data folder now: {_SEE_LOG}")
    return failed(request, INTERNAL, f"the server failed at this request: {_SEE_LOG}")


def failed(request: Request, code: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """A status object with the code that HTTP says as well."""
    return StrictJson({"status": _ids(request).status(code, text)}, status_code=code, headers=headers)


def denied(request: Request, text: str) -> Response:
    """The answer to a request without a valid token."""
    content = {"detail": text, "status": _ids(request).status(UNAUTHORIZED, text)}
    return StrictJson(content, status_code=UNAUTHORIZED, headers={"WWW-Authenticate": "Token"})


def http_failure(request: Request, code: int) -> Response:
    """The answer to a path or a verb that is not served."""
    if code == METHOD_NOT_ALLOWED:
        verbs = ", ".join(_PING_VERBS) if request.url.path.rstrip("/") == f"{PREFIX}/ping" else "POST"
        text = f"{request.method} is not served here: use {verbs}"
        return failed(request, code, text, headers={"Allow": verbs})
    known = ", ".join(["ping", *(method.name for method in METHODS)])
    return failed(request, code, f"there is no {request.url.path} here: {PREFIX} has {known}")


async def _ping(request: Request) -> Response:
    _caller(request)
    return StrictJson(methods.PONG)


def _endpoint(method: Method) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        services: Services = request.app.state.services
        call = Call(
            services=services,
            ids=_ids(request),
            owner=_caller(request),
            collection=_collection(request),
            query=request.query_params,
        )
        async with services.bodies.json_object(request) as body:
            return StrictJson(await method.run(call, schema.validate(method.asked, body)))

    return endpoint


def _caller(request: Request) -> str:
    """Whose request it is.

    Raises:
        AuthRequired: no valid token, and keys exist.
    """
    services: Services = request.app.state.services
    # Of several, each reader on the way may have believed another one.
    sent = request.headers.getlist("authorization")
    caller = authenticate_token(sent[0] if len(sent) == 1 else None, services.keys)
    request.state.key = caller.owner
    return caller.owner


def _collection(request: Request) -> str:
    name = request.headers.get("collection-id", "").strip() or DEFAULT_COLLECTION
    if len(name) > _LONGEST_COLLECTION:
        raise InvalidValue(
            f"collection-id has {len(name)} characters, at most {_LONGEST_COLLECTION} are taken"
        )
    if not (name.isascii() and name.isprintable()):
        raise InvalidValue("collection-id may hold printable ASCII characters only")
    return name


def _ids(request: Request) -> RequestIds:
    return RequestIds(request=request.state.request_id)
