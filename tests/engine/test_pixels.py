"""Which images have their pixels compared: those of one size whose rows and signatures agree."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.test_catalog import IMAGE
from twinlens.engine.catalog import Catalog, NewImage
from twinlens.engine.join import PairBlock
from twinlens.engine.pixels import JPEGS_AGREE, SIGNATURES_AGREE, _wanted

PATTERN = np.arange(256, dtype=np.uint8) // 2


def image(number: int, **changes: object) -> NewImage:
    """An image of its own unit and bytes, with a signature."""
    own = replace(IMAGE, id=f"{number:02d}", row=number, relative=b"%d" % number, digest=b"%d" % number)
    return replace(own, **{"signature": PATTERN.tobytes(), **changes})  # type: ignore[arg-type]


def brighter(levels: int) -> bytes:
    """The signature with one value changed, by so much."""
    changed = PATTERN.copy()
    changed[100] += levels
    return changed.tobytes()


def wanted_of(folder: Path, images: list[NewImage], similarity: float = 0.95) -> list[str]:
    """Ids whose pixels are wanted, of a catalog in which images 0 and 1, 2 and 3 and so on are pairs."""
    count = len(images)
    with closing(Catalog.create(folder, {"rows": str(count), "kept_from": "0.8"})) as catalog:
        catalog.source(folder, folder)
        with catalog.transaction():
            catalog.add_images(images)
            catalog.set_units(np.arange(count))
            first = np.arange(0, count, 2)
            catalog.add_pairs(PairBlock(first, first + 1, np.full(len(first), similarity)))
        return sorted(content.image.id for content in _wanted(catalog))


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ({}, True),
        ({"width": 41}, False),
        ({"brightness": IMAGE.brightness + SIGNATURES_AGREE + 1}, False),
        ({"signature": brighter(JPEGS_AGREE)}, True),
        ({"signature": brighter(JPEGS_AGREE + 1)}, False),
        ({"signature": brighter(SIGNATURES_AGREE), "format": "png"}, True),
        ({"signature": brighter(SIGNATURES_AGREE + 1), "format": "png"}, False),
        ({"signature": None}, True),
        ({"low_information": True}, False),
    ],
)
def test_two_images_are_compared_where_nothing_rules_it_out(
    tmp_path: Path, other: dict[str, object], wanted: bool
) -> None:
    assert wanted_of(tmp_path, [image(0), image(1, **other)]) == (["00", "01"] if wanted else [])


def test_pairs_with_rows_that_differ_are_not_looked_at(tmp_path: Path) -> None:
    assert wanted_of(tmp_path, [image(0), image(1)], similarity=0.89) == []


def test_many_pairs_are_told_apart_one_by_one(tmp_path: Path) -> None:
    """More than are compared together; every third pair has other signatures."""
    images = [
        image(number, signature=brighter(50) if number % 6 == 1 else PATTERN.tobytes())
        for number in range(10_000)
    ]
    expected = [each.id for pair in range(5_000) if pair % 3 for each in images[2 * pair : 2 * pair + 2]]
    assert wanted_of(tmp_path, images) == sorted(expected)


def test_a_unit_of_several_files_is_compared_whatever_its_first_signature_says(tmp_path: Path) -> None:
    """Rows 0 and 1 are one unit of two files, the second of which may equal row 2."""
    images = [image(0, signature=brighter(60)), image(1), image(2)]
    with closing(Catalog.create(tmp_path, {"rows": "3", "kept_from": "0.8"})) as catalog:
        catalog.source(tmp_path, tmp_path)
        with catalog.transaction():
            catalog.add_images(images)
            catalog.set_units(np.array([0, 0, 2]))
            catalog.add_pairs(PairBlock(np.array([0]), np.array([2]), np.array([0.95])))
        assert sorted(content.image.id for content in _wanted(catalog)) == ["01", "02"]
