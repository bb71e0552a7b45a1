"""The images most similar to an image, a text or an image of the dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinlens.engine.decode import DecodeLimits
from twinlens.engine.embedding import embed_padded
from twinlens.engine.errors import DatasetCorrupt, DecodeError, TextNotSupported
from twinlens.engine.index import FlatIndex
from twinlens.engine.results import Neighbour
from twinlens.engine.sight import Looker, Sight
from twinlens.engine.similarity import Mask, Units, shown, unit_rows
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.storage import is_writable, storage_errors
from twinlens.engine.types import Embedder, TextEmbedder

INDEX_FILE = "index.faiss"


def open_index(snapshot: Snapshot, folder: Path) -> FlatIndex:
    """The dataset's index, made or brought up to date where it is missing, damaged or behind."""
    path = folder / INDEX_FILE
    dim, fingerprint = snapshot.description.dim, snapshot.description.fingerprint
    try:
        index = FlatIndex.load(path, dim, fingerprint)
    except DatasetCorrupt:
        index = FlatIndex(dim, fingerprint)
    if len(index) > len(snapshot.rows):
        index = FlatIndex(dim, fingerprint)
    if len(index) < len(snapshot.rows):
        index.extend(snapshot.rows)
        if is_writable(folder):
            with storage_errors(folder):
                index.save(path)
    return index


def by_id(snapshot: Snapshot, index: FlatIndex, id_: str, k: int) -> list[Neighbour]:
    """The k images most similar to an image of the dataset, itself left out.

    Raises:
        InvalidValue: no such image.
    """
    image = snapshot.find(id_)
    unit = int(snapshot.units.of_image[snapshot.position[id_]])
    twins = _identical(snapshot, image.digest, image.pixel_digest) - {id_}
    found = dict.fromkeys(twins, 1.0)
    if not image.low_information:
        query = unit_rows(snapshot.rows[[snapshot.units.rows[unit]]])[0]
        found |= _similar(snapshot, index, query, k + 1 + _rejections_of(snapshot, unit)) | found
    found.pop(id_, None)
    return _best(
        snapshot, {other: s for other, s in found.items() if not _rejected(snapshot, unit, other)}, k
    )


def by_image(
    snapshot: Snapshot, index: FlatIndex, embedder: Embedder, image: str | Path | bytes, k: int, shape: int
) -> list[Neighbour]:
    """The k images most similar to an image file, which takes the way that stored images took.

    Raises:
        DecodeError: the image cannot be read.
    """
    looker = Looker(embedder, DecodeLimits(), hashes=False, known=frozenset())
    seen = looker.look_at_bytes(image) if isinstance(image, bytes) else looker.look(str(image))
    if isinstance(seen, DecodeError):
        raise (
            seen
            if isinstance(image, bytes)
            else DecodeError(f"{image}: {seen.reason}", stage=seen.stage, retryable=seen.retryable)
        )
    assert isinstance(seen, Sight)
    found = dict.fromkeys(_identical(snapshot, seen.digest, seen.pixel_digest), 1.0)
    if not seen.low_information:
        row = embed_padded(embedder, [seen.prepared], shape).astype(np.float16)
        found = _similar(snapshot, index, unit_rows(row)[0], k) | found
    return _best(snapshot, found, k)


def by_text(snapshot: Snapshot, index: FlatIndex, embedder: Embedder, text: str, k: int) -> list[Neighbour]:
    """The k images that a text describes best.

    Raises:
        TextNotSupported: the model takes images only.
    """
    if not (embedder.description.text_capable and isinstance(embedder, TextEmbedder)):
        raise TextNotSupported(
            f"model {embedder.description.name} takes images only: search by --image or --id, "
            "or index with a CLIP model"
        )
    query = unit_rows(embedder.embed_texts([text]))[0]
    return _best(snapshot, _similar(snapshot, index, query, k), k)


def _similar(snapshot: Snapshot, index: FlatIndex, query: Units, k: int) -> dict[str, float]:
    """Similarity of all images of the k most similar units, by id."""
    units = snapshot.units
    unit_of_row = np.full(len(snapshot.rows), -1, np.int64)
    searched = np.flatnonzero(~units.low_information)
    unit_of_row[units.rows[searched]] = searched
    rows, similarity = index.search(snapshot.rows, query, k, _living(unit_of_row))
    return {
        snapshot.images[place].id: float(value)
        for row, value in zip(rows.tolist(), similarity.tolist(), strict=True)
        for place in snapshot.members(unit_of_row[[row]]).tolist()
    }


def _living(unit_of_row: np.ndarray) -> Mask:
    living: Mask = unit_of_row >= 0
    return living


def _identical(snapshot: Snapshot, digest: bytes | None, pixels: bytes | None) -> set[str]:
    return {
        image.id
        for image in snapshot.images
        if (digest is not None and image.digest == digest)
        or (pixels is not None and image.pixel_digest == pixels)
    }


def _rejections_of(snapshot: Snapshot, unit: int) -> int:
    return sum(unit in pair for pair in snapshot.units.rejected)


def _rejected(snapshot: Snapshot, unit: int, other: str) -> bool:
    other_unit = int(snapshot.units.of_image[snapshot.position[other]])
    return (min(unit, other_unit), max(unit, other_unit)) in snapshot.units.rejected


def _best(snapshot: Snapshot, found: dict[str, float], k: int) -> list[Neighbour]:
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:k]
    return [
        Neighbour(id_, snapshot.images[snapshot.position[id_]].path, float(shown(np.array(similarity))))
        for id_, similarity in best
    ]
