"""Products of signs find the pairs of brute force; they are a way only where torch is loaded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.near_pairs import brute, family, same
from twinlens.engine.code_products import Products, products_cost
from twinlens.engine.codes import Codes, HammingBlock, Looking, joined, packed_words
from twinlens.engine.hamming import join, self_join
from twinlens.engine.near_codes import cheapest_way
from twinlens.engine.row_codes import codes_are_exact

pytestmark = pytest.mark.skipif(
    not codes_are_exact("cpu"), reason="this processor does not multiply int8 without error"
)


def codes_of(rng: np.random.Generator, kind: str, count: int, width: int) -> Codes:
    if kind == "random":
        return rng.integers(0, 256, (count, width), dtype=np.uint8)
    return family(rng, count, width)


def found_by(
    products: Products, left: Codes, right: Codes, radius: int, *, later: bool, height: int = 512
) -> HammingBlock:
    """All pairs of strips of left codes, in their order."""
    looks = products.strips(
        packed_words(left), packed_words(right), radius, range(0, len(left), height), 1 << 30, later=later
    )
    return joined([found[:] for look in looks if (found := look()) is not None])


@pytest.mark.parametrize("height", [512, 100])
@pytest.mark.parametrize("radius", [1, 10, 16, 31, 64])
@pytest.mark.parametrize("kind", ["random", "clustered"])
@pytest.mark.parametrize("count", [0, 1, 2, 600, 2300])
def test_a_set_with_itself(rng: np.random.Generator, count: int, kind: str, radius: int, height: int) -> None:
    """Less than a tile, several tiles with parts of tiles at the ends, and radii that reach all pairs."""
    codes = codes_of(rng, kind, count, 8)
    assert same(
        found_by(Products(1), codes, codes, radius, later=True, height=height),
        brute(codes, codes, radius, later=True),
    )


@pytest.mark.parametrize("screen", [1, 3, 16])
@pytest.mark.parametrize("kind", ["random", "clustered"])
def test_two_sets_and_any_number_of_words(rng: np.random.Generator, kind: str, screen: int) -> None:
    """bmh1 has 968 bits: 15 words and an eighth of the last one."""
    codes = codes_of(rng, kind, 2900, 121)
    left, right = codes[:700], codes[700:]
    for radius in (60, 460):
        for one, other in ((left, right), (right, left)):
            found = found_by(Products(screen), one, other, radius, later=False)
            assert same(found, brute(one, other, radius, later=False))
            assert len(found) > 0 or kind == "random"


@pytest.mark.parametrize("bits", range(9, 13))
def test_a_pair_at_the_radius_is_near_and_one_bit_further_is_not(bits: int) -> None:
    codes = np.zeros((700, 8), np.uint8)
    codes[1::2] = 255
    codes[600] = np.packbits(np.arange(64) < bits)
    found = found_by(Products(1), codes, codes[600:601], 11, later=False)
    assert len(found) == (350 if bits <= 11 else 1)
    assert set(found.distance[found.a != 600].tolist()) == ({bits} if bits <= 11 else set())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block", [1 << 18, 1000, 1])
@pytest.mark.parametrize("kind", ["random", "clustered"])
def test_joins_are_those_of_brute_force_in_order(
    rng: np.random.Generator, kind: str, block: int, threads: int
) -> None:
    """In blocks of 1,000 pairs some strips have to be lower; in blocks of one all bits are counted."""
    codes, radius = codes_of(rng, kind, 6200, 8), 15
    assert isinstance(cheapest_way(codes, codes, Looking(radius, 1)), Products)
    if block == 1:
        codes = codes[:200]
    blocks = list(self_join(codes, radius, block, threads))
    assert same(joined(blocks), brute(codes, codes, radius, later=True))
    assert max(map(len, blocks), default=0) <= block
    left, right = codes[: len(codes) // 3], codes[len(codes) // 3 :]
    found = joined(list(join(left, right, radius, block, threads)))
    assert same(found, brute(left, right, radius, later=False))


@pytest.mark.parametrize(("radius", "words"), [(20, range(1, 4)), (150, range(4, 9)), (480, range(16, 17))])
def test_wider_ranges_multiply_more_words(rng: np.random.Generator, radius: int, words: range) -> None:
    left = packed_words(rng.integers(0, 256, (6000, 121), dtype=np.uint8))
    chosen = products_cost(left, left, radius, later=True)
    assert chosen is not None
    assert chosen[0].screen in words


def test_a_strip_with_more_pairs_than_there_is_room_for_is_not_held() -> None:
    words = packed_words(np.zeros((40, 8), np.uint8))
    for room, pairs in ((780, 780), (779, None)):
        (look,) = Products(1).strips(words, words, 3, range(0, 40, 40), room, later=True)
        found = look()
        assert (found if found is None else len(found)) == pairs


def test_few_codes_are_not_multiplied(rng: np.random.Generator) -> None:
    words = packed_words(rng.integers(0, 256, (2000, 8), dtype=np.uint8))
    assert products_cost(words, words, 16, later=True) is None


def test_a_join_leaves_the_threads_of_torch_as_they_were(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 256, (6200, 8), dtype=np.uint8)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        list(self_join(codes, 15))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_join_does_not_load_torch() -> None:
    """Loading it takes longer than most joins; without it other ways find the same pairs."""
    code = (
        "import sys, numpy as np; from twinlens.engine.hamming import self_join;"
        "codes = np.random.default_rng(0).integers(0, 256, (6200, 8), dtype=np.uint8);"
        "print(sum(map(len, self_join(codes, 15))), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes = np.random.default_rng(0).integers(0, 256, (6200, 8), dtype=np.uint8)
    assert run.stdout.split() == [str(len(brute(codes, codes, 15, later=True))), "False"]
