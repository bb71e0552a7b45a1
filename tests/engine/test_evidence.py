"""Which evidence makes twins: similarity, near-equal hashes, or any of both, each edge saying which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.collections_of_pictures import fill, picture, save
from tests.fakes import ColourGridEmbedder
from twinlens.engine.dataset import Dataset
from twinlens.engine.decode import decode
from twinlens.engine.errors import InvalidValue
from twinlens.engine.hash_links import PHASH_RANGE
from twinlens.engine.hashing import image_hashes
from twinlens.engine.results import Evidence, EvidenceMode, Linkage

THRESHOLD = 0.97


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """Pictures; of each a grey copy, one in duller colours, and one that is cut a little."""
    folder = tmp_path_factory.mktemp("evidence")
    fill(folder / "photos", 12)
    for seed in range(12):
        whole = picture(seed)
        save(folder / "photos", f"{seed:05}-grey.jpg", whole.convert("L"))
        save(folder / "photos", f"{seed:05}-dull.jpg", ImageEnhance.Color(whole).enhance(0.7))
        save(folder / "photos", f"{seed:05}-cut.jpg", whole.crop((seed, 0, 160, 120 - seed)))
    save(folder / "photos", "black.png", Image.new("RGB", (90, 90)))
    save(folder / "photos", "black-wide.png", Image.new("RGB", (180, 90)))
    (folder / "photos" / "same.jpg").write_bytes((folder / "photos" / "00003.jpg").read_bytes())
    with Dataset.create(folder / "data", ColourGridEmbedder(), namespace="photos") as made:
        made.add(folder / "photos")
        yield made


def name(path: str) -> str:
    return os.path.basename(path)


@pytest.fixture(scope="module")
def seen(dataset: Dataset) -> dict[frozenset[str], tuple[float, int]]:
    """Similarity and differing bits of all pairs of pictures with something to see, by brute force."""
    images = [image for image in dataset.images() if not name(image.path).startswith("black")]
    vectors = {
        image.path: row
        for image, row in zip(dataset.images(), dataset.vectors().astype(np.float64), strict=True)
    }
    hashes = {image.path: image_hashes(decode(Path(image.path).read_bytes()).rgb).phash for image in images}
    pairs = {}
    for a, b in combinations([image.path for image in images], 2):
        u, v = vectors[a], vectors[b]
        similarity = round(float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)), 6)
        bits = int(np.unpackbits(hashes[a] ^ hashes[b]).sum())
        pairs[frozenset({name(a), name(b)})] = (similarity, bits)
    return pairs


def is_edge(mode: EvidenceMode, similarity: float, bits: int) -> bool:
    if mode is EvidenceMode.HASH:
        return bits <= PHASH_RANGE or similarity == 1
    return similarity >= THRESHOLD or (mode is EvidenceMode.ANY and bits <= PHASH_RANGE)


@pytest.mark.parametrize("mode", list(EvidenceMode))
def test_pairs_are_those_of_brute_force(
    dataset: Dataset, seen: dict[frozenset[str], tuple[float, int]], mode: EvidenceMode
) -> None:
    threshold = None if mode is EvidenceMode.HASH else THRESHOLD
    found = {frozenset({name(p.path_a), name(p.path_b)}): p for p in dataset.pairs(threshold, mode)}
    assert found.keys() == {pair for pair, (s, bits) in seen.items() if is_edge(mode, s, bits)}
    assert len(found) == dataset.count_pairs(threshold, mode)
    for pair, said in found.items():
        similarity, bits = seen[pair]
        assert said.similarity == pytest.approx(max(0, similarity), abs=2e-6)
        if said.evidence is Evidence.HASH:
            assert bits <= PHASH_RANGE
        elif said.evidence is Evidence.EMBEDDING:
            assert similarity >= (1 if mode is EvidenceMode.HASH else THRESHOLD)


@pytest.mark.parametrize("mode", list(EvidenceMode))
@pytest.mark.parametrize("linkage", [Linkage.COMPLETE, Linkage.STAR])
def test_clusters_keep_their_promise_over_the_chosen_evidence(
    dataset: Dataset, seen: dict[frozenset[str], tuple[float, int]], mode: EvidenceMode, linkage: Linkage
) -> None:
    threshold = None if mode is EvidenceMode.HASH else THRESHOLD
    clusters = dataset.duplicates(threshold, linkage=linkage, evidence=mode)
    assert len(clusters) >= 10
    for cluster in clusters:
        members = [name(member.path) for member in cluster.members]
        pairs = list(combinations(members, 2))
        if linkage is Linkage.STAR:
            pairs = [(members[0], other) for other in members[1:]]
        assert all(is_edge(mode, *seen[frozenset(pair)]) for pair in pairs)


def test_any_finds_what_either_sees(dataset: Dataset) -> None:
    pairs = {
        mode: {
            (p.path_a, p.path_b)
            for p in dataset.pairs(None if mode is EvidenceMode.HASH else THRESHOLD, mode)
        }
        for mode in EvidenceMode
    }
    by_vector, by_hash = pairs[EvidenceMode.EMBEDDING], pairs[EvidenceMode.HASH]
    assert by_vector - by_hash and by_hash - by_vector
    assert pairs[EvidenceMode.ANY] == by_vector | by_hash


def test_flat_pictures_have_no_hash_links(dataset: Dataset) -> None:
    together = [p for p in dataset.pairs(None, EvidenceMode.HASH) if name(p.path_a).startswith("black")]
    assert not together


def test_hashes_have_a_range_of_their_own(dataset: Dataset) -> None:
    assert dataset.threshold_of(None, "hash") == 1.0
    with pytest.raises(InvalidValue, match=r"threshold 0\.9 is of similarities"):
        dataset.duplicates(0.9, evidence="hash")


def test_unknown_evidence_is_refused_by_name(dataset: Dataset) -> None:
    with pytest.raises(InvalidValue, match="'hashes': choose from embedding, hash, any"):
        dataset.duplicates(evidence="hashes")
