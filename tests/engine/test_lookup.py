"""What searches look up: images by their digests, and which index is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinlens import Dataset
from twinlens.engine import search
from twinlens.engine.index import FlatIndex
from twinlens.engine.inverted_index import InvertedIndex
from twinlens.engine.lookup import Lookup
from twinlens.engine.types import Probe
from twinlens.engine.units import make_units

DIGESTS = [b"samesame" + bytes([1] * 24), b"samesame" + bytes([2] * 24), None, b"zzzzzzzz" + bytes(24)]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    rows = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    return Dataset.from_vectors([str(n) for n in range(8)], rows, name="mine", folder=tmp_path / "data")


def test_identical_images_are_found_by_all_of_their_digest(data: Dataset) -> None:
    """Two digests that begin alike are two."""
    images = [
        replace(image, digest=digest, pixel_digest=digest and digest[::-1])
        for image, digest in zip(
            data.snapshot().images, [*DIGESTS, DIGESTS[0], *DIGESTS[2:3] * 3], strict=True
        )
    ]
    lookup = Lookup(images, make_units(images, ()), 8)
    assert lookup.identical(DIGESTS[0], None) == {0, 4}
    assert lookup.identical(DIGESTS[1], None) == {1}
    assert lookup.identical(None, (DIGESTS[1] or b"")[::-1]) == {1}
    assert lookup.identical(DIGESTS[3], (DIGESTS[0] or b"")[::-1]) == {0, 3, 4}
    assert lookup.identical(b"samesame" + bytes([3] * 24), None) == set()
    assert lookup.identical(None, None) == set()


def test_a_set_without_files_has_no_identical_ones(data: Dataset) -> None:
    snapshot = data.snapshot()
    assert snapshot.lookup.identical(b"samesame", b"samesame") == set()
    found = search.by_probe(
        snapshot,
        search.open_index(snapshot.rows, data.description.fingerprint, data.folder),
        Probe(None, b"x" * 32),
        3,
    )
    assert found == []


def test_large_collections_are_searched_in_lists() -> None:
    assert search.index_kind(np.empty((50_000, 512), np.float16)) is FlatIndex
    assert search.index_kind(np.empty((50_001, 512), np.float16)) is InvertedIndex


def test_an_index_of_the_other_kind_is_made_anew(data: Dataset) -> None:
    """As when a collection outgrows the exact index."""
    snapshot = data.snapshot()
    other = InvertedIndex(16, data.description.fingerprint)
    other.extend(snapshot.rows)
    other.save(data.folder / search.INDEX_FILE)
    assert isinstance(search.open_index(snapshot.rows, data.description.fingerprint, data.folder), FlatIndex)
    assert FlatIndex.load(data.folder / search.INDEX_FILE, 16, data.description.fingerprint).kind == "flat"


def test_a_dataset_says_how_much_its_searches_find(data: Dataset) -> None:
    search.open_index(data.snapshot().rows, data.description.fingerprint, data.folder)
    assert data.search_recall == 1.0
    (data.folder / "index.json").unlink()
    assert data.search_recall is None
