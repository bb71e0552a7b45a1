"""What searches look up: images by their digests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinlens import Dataset
from twinlens.engine import search
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
    found = search.by_probe(snapshot, search.open_index(snapshot, data.folder), Probe(None, b"x" * 32), 3)
    assert found == []
