"""The images most similar to an image, a text or an image of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import DatasetCorrupt, TextNotSupported
from twinlens.engine.hashing import byte_digest
from twinlens.engine.index import FlatIndex, Index
from twinlens.engine.inverted_index import InvertedIndex
from twinlens.engine.results import Neighbour
from twinlens.engine.similarity import Rows, Units, pairwise, shown, spans, unit_rows
from twinlens.engine.snapshot import Snapshot
from twinlens.engine.storage import is_writable, storage_errors
from twinlens.engine.types import Embedder, Probe, TextEmbedder

INDEX_FILE = "index.faiss"
_EXACT_VALUES = 50_000 * 512
"""Values of all rows up to which an exact search takes about 10 ms on one core."""

_UNITS_AT_ONCE = 16_384


def index_kind(rows: Rows) -> type[Index]:
    """Exact while that is fast, in lists for collections that are larger."""
    return FlatIndex if rows.size <= _EXACT_VALUES else InvertedIndex


def open_index(rows: Rows, fingerprint: str, folder: Path) -> Index:
    """The dataset's index, made or brought up to date where it is missing, damaged or behind.

    Args:
        rows: all committed rows, float16 [rows, dim].
        fingerprint: of the model that they come from.
        folder: of the dataset.
    """
    path = folder / INDEX_FILE
    dim = rows.shape[1]
    kind = index_kind(rows)
    try:
        index = kind.load(path, dim, fingerprint)
    except DatasetCorrupt:
        index = kind(dim, fingerprint)
    if len(index) > len(rows):
        index = kind(dim, fingerprint)
    if len(index) < len(rows):
        index.extend(rows)
        if is_writable(folder):
            with storage_errors(folder):
                index.save(path)
    return index


def probe_texts(embedder: Embedder, texts: Sequence[str]) -> list[Probe]:
    """Texts in the space of the images.

    Raises:
        TextNotSupported: the model takes images only.
    """
    if not (embedder.description.text_capable and isinstance(embedder, TextEmbedder)):
        raise TextNotSupported(
            f"model {embedder.description.name} takes images only: search by --image or --id, "
            "or index with a CLIP model"
        )
    return [Probe(vector) for vector in unit_rows(embedder.embed_texts(texts))]


def probe_id(snapshot: Snapshot, id_: str) -> Probe:
    """An image of the dataset.

    Raises:
        InvalidValue: no such image.
    """
    image = snapshot.find(id_)
    vector = None if image.low_information else unit_rows(snapshot.rows[[image.row]])[0]
    return Probe(vector, image.digest, image.pixel_digest)


def probe_stored(snapshot: Snapshot, data: bytes) -> Probe | None:
    """The image of the dataset that is this very file, if there is one: it needs no decoder and no model."""
    places = snapshot.lookup.identical(byte_digest(data), None)
    return probe_id(snapshot, snapshot.images[min(places)].id) if places else None


def by_id(snapshot: Snapshot, index: Index, id_: str, k: int) -> list[Neighbour]:
    """The k images most similar to an image of the dataset, itself left out.

    Raises:
        InvalidValue: no such image.
    """
    probe = probe_id(snapshot, id_)
    unit = int(snapshot.units.of_image[snapshot.position[id_]])
    found = _found(snapshot, index, probe, k + 1 + snapshot.lookup.rejections[unit])
    found.pop(id_, None)
    return _best(
        snapshot, {other: s for other, s in found.items() if not _rejected(snapshot, unit, other)}, k
    )


def by_probe(snapshot: Snapshot, index: Index, probe: Probe, k: int) -> list[Neighbour]:
    """The k images most similar to what is searched for, most similar first, ties by id."""
    return _best(snapshot, _found(snapshot, index, probe, k), k)


def by_all(
    snapshot: Snapshot, probes: Sequence[Probe], k: int, furthest: Sequence[float] | None = None
) -> list[Neighbour]:
    """The k images most similar to all of several probes, each as similar as to the least of them.

    Args:
        snapshot: is searched.
        probes: one without a vector is a low-information image, and near to nothing.
        k: how many.
        furthest: largest cosine distance to each probe, inclusive; without bounds if None.
    """
    units = snapshot.units
    least, near = np.full(len(units), 1.0), ~units.low_information
    for probe, bound in zip(probes, furthest or [np.inf] * len(probes), strict=True):
        similarity = _similarity_of_units(snapshot, probe)
        near &= (np.round(1.0 - shown(similarity), 6) <= bound) & (probe.vector is not None)
        least = np.minimum(least, similarity)
    nearest = np.flatnonzero(near)
    nearest = nearest[np.argsort(-least[nearest], kind="stable")[:k]]
    found = {
        snapshot.images[place].id: float(least[unit])
        for unit in nearest.tolist()
        for place in snapshot.members(np.array([unit])).tolist()
    }
    return _best(snapshot, found, k)


def _similarity_of_units(snapshot: Snapshot, probe: Probe) -> NDArray[np.float64]:
    if probe.vector is None:
        return np.zeros(len(snapshot.units))
    rows = snapshot.units.rows
    blocks = [
        pairwise(each := unit_rows(snapshot.rows[rows[span]]), np.broadcast_to(probe.vector, each.shape))
        for span in spans(0, len(rows), _UNITS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0), *blocks])


def _found(snapshot: Snapshot, index: Index, probe: Probe, k: int) -> dict[str, float]:
    places = snapshot.lookup.identical(probe.digest, probe.pixel_digest)
    identical = {snapshot.images[place].id: 1.0 for place in places}
    if probe.vector is None:
        return identical
    return _similar(snapshot, index, probe.vector, k) | identical


def _similar(snapshot: Snapshot, index: Index, query: Units, k: int) -> dict[str, float]:
    """Similarity of all images of the k most similar units, by id."""
    lookup = snapshot.lookup
    rows, similarity = index.search(snapshot.rows, query, k, lookup.searchable)
    return {
        snapshot.images[place].id: float(value)
        for row, value in zip(rows.tolist(), similarity.tolist(), strict=True)
        for place in snapshot.members(lookup.unit_of_row[[row]]).tolist()
    }


def _rejected(snapshot: Snapshot, unit: int, other: str) -> bool:
    other_unit = int(snapshot.units.of_image[snapshot.position[other]])
    return (min(unit, other_unit), max(unit, other_unit)) in snapshot.units.rejected


def _best(snapshot: Snapshot, found: dict[str, float], k: int) -> list[Neighbour]:
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:k]
    return [
        Neighbour(id_, snapshot.images[snapshot.position[id_]].path, float(shown(np.array(similarity))))
        for id_, similarity in best
    ]
