"""Questions about a dataset: duplicates, uniqueness, clusters, likeness, text."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore import describe, schema
from twinlens.service.explore.boxes import parse_box
from twinlens.service.explore.deliveries import receive_query
from twinlens.service.explore.desk import Desk
from twinlens.service.explore.failures import NotFound
from twinlens.service.explore.query import ExploreQuery, parse_query
from twinlens.service.explore.shapes import detailed_json, found_json
from twinlens.service.explore.values import canonical_uuid, media_id_in
from twinlens.service.explore.vql import TextFilter, TextOp
from twinlens.service.json_answers import StrictJson

routes = APIRouter(tags=["explore"])
_MOST_RESULTS = 1000
_TAGGED: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"schema": {"type": "string"}, "description": "Of this answer."}}},
    304: {"description": "The answer is still the one whose ETag came as If-None-Match."},
}
_BOX = '{"x":0.1,"y":0.2,"width":0.5,"height":0.6}'


@routes.get(
    "/explore/{dataset_id}",
    response_model=schema.ExploreAnswer,
    responses={**_TAGGED, **describe.failures(404, 409, 422, 429)},
    summary="Clusters of a dataset: duplicates, unique images, search results, or all",
    openapi_extra={"parameters": describe.EXPLORE_PARAMETERS},
)
async def explore(request: Request, dataset_id: str) -> Response:
    """Filters of `vql` hold together. Every pair in a cluster of duplicates is as similar as asked."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    query = parse_query(request.query_params.multi_items())
    pages = (await desk.machinery()).pages
    page = await pages.page(row, query, desk.links(request))
    headers = {"etag": page.etag, "cache-control": "private, no-cache", "vary": "authorization"}
    if _matches(request.headers.get("if-none-match", ""), page.etag):
        return Response(status_code=304, headers=headers)
    return Response(page.body, media_type="application/json", headers=headers)


@routes.get(
    "/explore/{dataset_id}/clusters/{cluster_id}",
    response_model=schema.MembersAnswer,
    responses=describe.failures(404, 409, 422, 429),
    summary=describe.EXTENSION + "all members of a cluster that was given out",
    openapi_extra={"parameters": [describe.PAGE_NUMBER]},
)
async def members(request: Request, dataset_id: str, cluster_id: str) -> Response:
    """Gone (404) as soon as the cluster has other members."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    page = parse_query(_only(request, "page_number")).page
    pages = (await desk.machinery()).pages
    cluster = _uuid(cluster_id, "Cluster not found")
    return StrictJson(await pages.members(row, cluster, page, desk.links(request)))


@routes.get(
    "/explore/{dataset_id}/exploration_metadata",
    response_model=schema.ExplorationMetadata,
    responses=describe.failures(404, 409, 422, 429),
    summary="A dataset at a glance",
    openapi_extra={"parameters": describe.EXPLORE_PARAMETERS},
)
async def exploration_metadata(request: Request, dataset_id: str) -> Response:
    """How many clusters and images explore shows for the same parameters, and all labels of the dataset."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    query = parse_query(request.query_params.multi_items())
    machinery = await desk.machinery()
    view, found = await machinery.pages.answer(row, query)
    labels = await machinery.library.run(view.label_counts)
    return StrictJson(
        {
            "dataset_name": row.name,
            "clusters_count": found.total_clusters,
            "media_count": found.total_media,
            "labels": [{"name": name, "count": count} for name, count in labels],
        }
    )


@routes.get(
    "/dataset/{dataset_id}/media/{media_id}",
    response_model=schema.MediaAnswer,
    responses=describe.failures(404, 409),
    summary=describe.EXTENSION + "one image",
)
async def media(request: Request, dataset_id: str, media_id: str) -> Response:
    """All that is known of it, with URLs of its file and its preview."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    machinery = await desk.machinery()
    view = await machinery.library.view(row)
    id_ = media_id_in(media_id)
    if id_ not in view.snapshot.position:
        raise NotFound("Media not found")
    links = desk.links(request)
    return StrictJson(
        await machinery.library.run(lambda: detailed_json(row, view, view.snapshot.find(id_), links))
    )


@routes.get(
    "/dataset/{dataset_id}/media/{media_id}/duplicates",
    response_model=list[UUID],
    responses=describe.failures(404, 409, 422),
    summary="Ids of the duplicates of an image, the most similar first",
    openapi_extra={
        "parameters": [
            describe.query(
                "duplicate_threshold",
                describe.FRACTION,
                describe.EXTENSION + "the model's default threshold unless given.",
            )
        ]
    },
)
async def duplicates(request: Request, dataset_id: str, media_id: str) -> Response:
    """All images that are at least as similar to it as the threshold."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    machinery = await desk.machinery()
    view = await machinery.library.view(row)
    id_ = media_id_in(media_id)
    if id_ not in view.snapshot.position:
        raise NotFound("Media not found")
    asked = parse_query(_only(request, "duplicate_threshold")).duplicates
    threshold = view.snapshot.description.points.default if asked is None else asked
    return StrictJson(await machinery.library.run(lambda: view.twins_of(id_, threshold)))


@routes.post(
    "/dataset/{dataset_id}/search-image-similarity",
    response_model=schema.AnchorAnswer,
    responses=describe.failures(400, 404, 409, 422, 429),
    summary="Upload an image to search for",
    openapi_extra={
        **describe.multipart({"file": describe.IMAGE}, "file"),
        "parameters": [
            describe.ENTITY_TYPE,
            describe.query("threshold", describe.LEVEL, "As explore will be asked with."),
            describe.query(
                "bounding_box",
                {"type": "string"},
                "The part of the image to search for: a JSON object of fractions of the image; "
                "or `X,Y,WIDTH,HEIGHT` in pixels.",
                example=_BOX,
            ),
        ],
    },
)
async def search_image_similarity(request: Request, dataset_id: str) -> Response:
    """The answer goes into the parameters of explore with the same names."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    parse_query(_only(request, "entity_type", "threshold"))
    machinery = await desk.machinery()
    view = await machinery.library.view(row)
    data, fields = await receive_query(request, desk.intake, desk.settings)
    box = request.query_params.get("bounding_box") or fields.get("bounding_box")
    anchor = await machinery.anchor(row, view, data, parse_box(box) if box else None)
    return StrictJson({"anchor_media_id": anchor, "anchor_type": "UPLOAD"})


@routes.post(
    "/vector_search/{dataset_id}",
    response_model=schema.VectorSearchAnswer,
    responses=describe.failures(400, 404, 409, 422, 429),
    summary="The images that a text describes best",
    openapi_extra=describe.json_body(
        {
            "text": describe.TEXT,
            "entity_type": describe.ENTITY,
            "limit": {"type": "integer", "minimum": 1, "maximum": _MOST_RESULTS, "default": 10},
        },
        "text",
        example={"text": "a red car", "entity_type": "IMAGES", "limit": 10},
        additionalProperties=False,
    ),
)
async def vector_search(request: Request, dataset_id: str) -> Response:
    """Needs a dataset whose model takes texts."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    async with desk.bodies.json_object(request) as body:
        query, limit = _text_search(body)
    machinery = await desk.machinery()
    view, found = await machinery.pages.answer(row, query)
    links = desk.links(request)

    def nearest() -> list[dict[str, Any]]:
        images = [
            (distance, image)
            for each in found.groups(0, found.total_clusters)
            for distance, image in zip(each.distances or (), each.members, strict=True)
        ]
        images.sort(key=lambda one: (one[0], one[1].id))
        return [found_json(row, view, image, distance, links) for distance, image in images[:limit]]

    results = await machinery.library.run(nearest)
    return StrictJson({"results": results, "metadata": {"generation": view.snapshot.generation}})


@routes.get(
    "/vector_search/{dataset_id}/embedding_models",
    response_model=list[schema.EmbeddingModel],
    responses=describe.failures(404, 409),
    summary="The model of a dataset",
)
async def embedding_models(request: Request, dataset_id: str) -> Response:
    """A dataset has one, for good."""
    desk = _desk(request)
    row = desk.dataset(request, dataset_id)
    view = await (await desk.machinery()).library.view(row)
    model = view.snapshot.description
    return StrictJson(
        [
            {
                "id": model.fingerprint,
                "name": model.name,
                "type": "MULTIMODEL_IMAGE_ENCODING" if model.text_capable else "IMAGE_ENCODING",
                "dim": model.dim,
                "text_capable": model.text_capable,
            }
        ]
    )


def _text_search(body: dict[str, Any]) -> tuple[ExploreQuery, int]:
    """The question and the limit of a body of vector_search.

    Raises:
        InvalidValue: a value that is not served.
    """
    if unknown := set(body) - {"text", "entity_type", "limit"}:
        raise InvalidValue(
            f"{sorted(unknown)[0][:100]!r} is no field of vector_search: text, entity_type, limit"
        )
    text, limit = body.get("text"), body.get("limit", 10)
    if not isinstance(text, str):
        raise InvalidValue("text is missing or not a string: say what to search for")
    whole = isinstance(limit, int | float) and not isinstance(limit, bool) and limit == limit // 1
    if not whole or not 1 <= limit <= _MOST_RESULTS:
        raise InvalidValue(f"limit is {str(limit)[:100]}: it takes a whole number from 1 to 1000")
    entity = body.get("entity_type", "IMAGES")
    if not isinstance(entity, str) or not entity:
        raise InvalidValue("entity_type takes the string IMAGES")
    parse_query([("entity_type", entity)])
    (checked,) = parse_query([("caption", text)]).texts or (None,)
    if checked is None:
        raise InvalidValue("text is empty: say what to search for")
    return ExploreQuery(texts=(TextFilter(TextOp.SEMANTIC, checked.value, None),)), int(limit)


def _only(request: Request, *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.query_params.multi_items() if name in names]


def _uuid(text: str, message: str) -> str:
    try:
        return canonical_uuid("id", text)
    except InvalidValue:
        raise NotFound(message) from None


def _matches(sent: str, etag: str) -> bool:
    return sent.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in sent.split(","))


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.services.explore
    return desk
