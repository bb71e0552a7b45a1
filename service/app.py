"""The app: `create_app` puts settings, stores, middleware and dialects together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from twinlens import __version__
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.errors import InputError, TwinLensError
from twinlens.service.access import AccessLog
from twinlens.service.bodies import BodyReader
from twinlens.service.explore import describe as explore_openapi
from twinlens.service.explore import routes as explore
from twinlens.service.explore.desk import open_desk
from twinlens.service.fetch import Fetcher, FetchLimits
from twinlens.service.json_answers import StrictJson
from twinlens.service.keys import KeyStore
from twinlens.service.matching import openapi as matching_openapi
from twinlens.service.matching import routes as matching
from twinlens.service.matching.collections import CollectionStore
from twinlens.service.matching.images import ImageLoader
from twinlens.service.metrics import CONTENT_TYPE, Metrics
from twinlens.service.services import Services
from twinlens.service.settings import Settings

log = logging.getLogger("twinlens.service")
_DESCRIPTION = "Finds twins in image collections. Failures are answered in the form of each dialect."
_CLIENT_CLOSED = 499


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app for any ASGI server. Nothing is opened before it starts.

    Args:
        settings: how it runs; read from the environment if not given.
    """
    settings = settings or Settings()
    metrics = Metrics()
    app: FastAPI = FastAPIOffline(
        redoc_url=None,
        title="TwinLens",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan(settings, metrics),
        redirect_slashes=False,
    )
    app.add_middleware(AccessLog, metrics=metrics, failed=_failure)
    app.include_router(matching.router(settings))
    app.include_router(explore.router())
    app.add_api_route(
        "/healthz",
        _health,
        methods=["GET"],
        tags=["operation"],
        summary="Is it up?",
        openapi_extra={"security": []},
    )
    app.add_api_route("/metrics", _metrics, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(HTTPException, _http_failure)
    app.add_exception_handler(TwinLensError, _failure)
    app.add_exception_handler(ClientDisconnect, _gone)
    _describe(app)
    return app


def _lifespan(settings: Settings, metrics: Metrics) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _services(settings, metrics) as services:
            app.state.services = services
            yield

    return lifespan


@asynccontextmanager
async def _services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    """Open what the app holds, and close it in the end."""
    keys = KeyStore(settings.home)
    collections = CollectionStore(settings.collections_file, max_records=settings.max_collection_records)
    fetcher = Fetcher(
        FetchLimits(
            max_bytes=settings.max_image_bytes,
            attempts=settings.url_attempts,
            seconds=settings.url_seconds,
            concurrency=settings.url_concurrency,
            redirects=settings.url_redirects,
            allow_private=settings.allow_private_urls,
        )
    )
    loader = ImageLoader(
        fetcher,
        DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        workers=settings.workers,
        downloads=settings.url_concurrency,
        url_attempts=settings.url_attempts,
        counts=metrics,
    )
    bodies = BodyReader(
        max_bytes=settings.max_body_bytes,
        max_values=settings.max_body_values,
        max_inflight=settings.max_inflight_bytes,
        seconds=settings.request_seconds,
    )
    try:
        async with open_desk(settings, keys, bodies, metrics) as desk:
            yield Services(settings, metrics, keys, bodies, loader, collections, desk)
    finally:
        await fetcher.aclose()
        loader.close()
        collections.close()
        keys.close()


async def _health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


async def _metrics(request: Request) -> Response:
    services: Services = request.app.state.services
    return Response(services.metrics.text(), media_type=CONTENT_TYPE)


async def _failure(request: Request, error: Exception) -> Response:
    """Every dialect has its own form of failure."""
    if request.url.path.startswith(explore.PREFIX):
        error = explore.meant(request, error)
    if not isinstance(error, InputError):
        log.error(
            "request failed", exc_info=error, extra={"fields": {"request_id": request.state.request_id}}
        )
    if request.url.path.startswith(matching.PREFIX):
        return matching.failure(request, error)
    return explore.failure(request, error)


async def _http_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.url.path.startswith(matching.PREFIX):
        return matching.http_failure(request, error.status_code)
    if request.url.path.startswith(explore.PREFIX):
        return explore.http_failure(request, error.status_code, error.headers)
    return StrictJson({"detail": error.detail}, status_code=error.status_code, headers=error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this; it keeps the log from calling a closed connection a failure."""
    return Response(status_code=_CLIENT_CLOSED)


def _describe(app: FastAPI) -> None:
    """Have the OpenAPI document say whether a key is needed at the moment."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        services: Services | None = getattr(app.state, "services", None)
        keys = services is not None and services.keys.any()
        matching_openapi.complete(document, keys=keys)
        explore_openapi.complete(document, keys=keys)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
