"""What is searched for: an image file, a part of one, an image of the dataset, several things at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.collections_of_pictures import fill
from tests.fakes import ColourGridEmbedder
from tests.pictures import encode
from tests.rows import brute_similarity
from twinlens.engine import search
from twinlens.engine.box import Box
from twinlens.engine.dataset import Dataset
from twinlens.engine.decode import DecodeLimits, decode
from twinlens.engine.errors import DecodeError, InvalidValue
from twinlens.engine.hashing import pixel_digest
from twinlens.engine.probes import embed, glimpse, probe_image
from twinlens.engine.types import Embeddings, Prepared, Probe, Rgb

MOST = 8
MODEL = ColourGridEmbedder()
LIMITS = DecodeLimits()


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Dataset]:
    fill(tmp_path / "photos", 12)
    with Dataset.create(tmp_path / "data", MODEL, namespace="probes") as dataset:
        dataset.add(tmp_path / "photos")
        yield dataset


def probe(data: bytes, box: Box | None = None) -> Probe:
    seen = glimpse(MODEL, data, LIMITS, None if box is None else lambda width, height: box)
    (found,) = embed(MODEL, [seen], MOST)
    return found


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return encode(np.kron(pixels, np.ones((20, 20, 1), np.uint8)), "PNG")


def test_many_files_are_embedded_together_as_they_would_be_alone() -> None:
    files = [picture(seed) for seed in range(11)]
    together = embed(MODEL, [glimpse(MODEL, file, LIMITS) for file in files], MOST)
    for file, found in zip(files, together, strict=True):
        alone = probe(file)
        assert found.vector is not None and alone.vector is not None
        assert np.array_equal(found.vector, alone.vector)
        assert found.digest == alone.digest is not None


def test_no_call_is_filled_up() -> None:
    """Its work is that of the images which it holds."""

    class Counting(ColourGridEmbedder):
        def embed_prepared(self, batch: Sequence[Prepared]) -> Embeddings:
            sizes.append(len(batch))
            return super().embed_prepared(batch)

    sizes: list[int] = []
    embed(Counting(), [glimpse(MODEL, picture(seed), LIMITS) for seed in range(15)], MOST)
    assert sizes == [8, 7]


def test_what_cannot_be_read_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        glimpse(MODEL, b"no image", LIMITS)


def test_whatever_a_model_trips_over_is_a_decode_error_of_the_file() -> None:
    class Clumsy(ColourGridEmbedder):
        def prepare(self, image: Rgb) -> Prepared:
            raise ZeroDivisionError("too thin")

    with pytest.raises(DecodeError, match="cannot be prepared: ZeroDivisionError: too thin") as caught:
        glimpse(Clumsy(), picture(1), LIMITS)
    assert caught.value.stage == "prepare"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_flat_image_is_known_by_all_its_pixels_and_not_embedded(kind: str) -> None:
    flat = encode(np.full((400, 600, 3), 128, np.uint8), kind)
    seen = glimpse(MODEL, flat, LIMITS)
    assert seen.prepared is None and seen.pixel_digest == pixel_digest(decode(flat).rgb)
    blank, other = embed(MODEL, [seen, glimpse(MODEL, picture(2), LIMITS)], MOST)
    assert blank.vector is None and blank.pixel_digest == seen.pixel_digest
    assert other.vector is not None and other.pixel_digest is None


def test_a_box_is_searched_for_as_the_part_cut_out() -> None:
    whole = picture(3)
    cut = encode(decode(whole).rgb[20:80, 40:120], "PNG")
    part = probe(whole, Box(left=40 / 160, top=20 / 120, width=80 / 160, height=60 / 120))
    alone = probe(cut)
    assert part.vector is not None and alone.vector is not None
    assert np.array_equal(part.vector, alone.vector)
    assert part.digest is None, "a part is not identical to the file it was cut from"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(0, 0, 1, 1), (4, 6)),
        (Box(0.5, 0.5, 0.5, 0.5), (2, 3)),
        (Box(0.99, 0.99, 0.01, 0.01), (1, 1)),
        (Box(1.0, 1.0, 0.001, 0.001), (1, 1)),
        (Box(0.4, 0.4, 1e-9, 1e-9), (1, 1)),
    ],
)
def test_a_box_holds_the_pixels_that_it_touches_and_at_least_one(box: Box, expected: tuple[int, int]) -> None:
    assert box.cut(np.zeros((4, 6, 3), np.uint8)).shape[:2] == expected


def test_a_part_that_lies_outside_is_refused_as_such() -> None:
    def outside(width: int, height: int) -> Box:
        raise InvalidValue(f"{width} x {height}")

    with pytest.raises(InvalidValue, match="160 x 120"):
        glimpse(MODEL, picture(3), LIMITS, outside)


def test_a_file_of_the_dataset_is_its_row_and_needs_no_model(data: Dataset) -> None:
    """Found by its bytes, wherever they come from: it is exactly as similar as what is stored says."""

    def load() -> ColourGridEmbedder:
        raise AssertionError("the model was loaded")

    snapshot = data.copy_snapshot()
    image = snapshot.images[4]
    stored = search.probe_id(snapshot, image.id)
    for file in (image.path, Path(image.path), Path(image.path).read_bytes()):
        probe = probe_image(snapshot, load, file)
        assert probe.vector is not None and stored.vector is not None
        assert np.array_equal(probe.vector, stored.vector)
        assert (probe.digest, probe.pixel_digest) == (stored.digest, stored.pixel_digest)
    index = search.open_index(snapshot.rows, data.description.fingerprint, data.folder)
    found = search.by_probe(snapshot, index, stored, 5)
    assert (found[0].id, found[0].similarity) == (image.id, 1.0)
    assert len(found) == 5


def test_another_file_is_embedded_and_its_path_named_where_it_is_broken(
    data: Dataset, tmp_path: Path
) -> None:
    snapshot, file = data.copy_snapshot(), tmp_path / "query.png"
    file.write_bytes(picture(9))
    by_path, by_bytes = (probe_image(snapshot, lambda: MODEL, each) for each in (file, picture(9)))
    assert by_path.vector is not None and by_bytes.vector is not None
    assert np.array_equal(by_path.vector, by_bytes.vector)
    file.write_bytes(b"no image")
    with pytest.raises(DecodeError, match=r"query\.png: it is text"):
        probe_image(snapshot, lambda: MODEL, file)


def test_an_image_as_a_probe_finds_what_it_finds_by_its_id_and_itself(data: Dataset) -> None:
    snapshot = data.copy_snapshot()
    index = search.open_index(snapshot.rows, data.description.fingerprint, data.folder)
    id_ = snapshot.images[2].id
    found = search.by_probe(snapshot, index, search.probe_id(snapshot, id_), 6)
    assert [found[0].id, *(each.id for each in search.by_id(snapshot, index, id_, 5))] == [
        e.id for e in found
    ]


def test_several_probes_find_what_is_like_all_of_them(data: Dataset) -> None:
    """The similarity to the least similar one counts, as by brute force."""
    snapshot = data.copy_snapshot()
    first, second = snapshot.images[0].id, snapshot.images[1].id
    probes = [search.probe_id(snapshot, id_) for id_ in (first, second)]
    similarity = brute_similarity(snapshot.rows[[image.row for image in snapshot.images]])
    expected = np.clip(np.minimum(similarity[0], similarity[1]), 0, 1)
    found = {each.id: each.similarity for each in search.by_all(snapshot, probes, 12)}
    assert found == {image.id: expected[place] for place, image in enumerate(snapshot.images)}


def test_each_of_several_probes_has_its_own_bound(data: Dataset) -> None:
    snapshot = data.copy_snapshot()
    probes = [search.probe_id(snapshot, image.id) for image in snapshot.images[:2]]
    similarity = brute_similarity(snapshot.rows[[image.row for image in snapshot.images]])[:2]
    distance = np.round(1 - np.clip(similarity, 0, 1), 6)
    bounds = [float(np.sort(distance[0])[3]), float(distance[1].max())]
    near = {image.id for place, image in enumerate(snapshot.images) if distance[0, place] <= bounds[0]}
    found = search.by_all(snapshot, probes, 12, bounds)
    assert {each.id for each in found} == near and 1 < len(near) < len(snapshot.images)


def test_nothing_is_like_an_image_that_shows_nothing(data: Dataset) -> None:
    snapshot = data.copy_snapshot()
    probes = [search.probe_id(snapshot, snapshot.images[0].id), Probe(None, digest=snapshot.images[0].digest)]
    assert search.by_all(snapshot, probes, 12) == []


def test_a_selection_is_searched_alone(data: Dataset) -> None:
    snapshot = data.copy_snapshot()
    index = search.open_index(snapshot.rows, data.description.fingerprint, data.folder)
    half = snapshot.select(np.arange(len(snapshot.images)) % 2 == 0)
    found = search.by_probe(half, index, search.probe_id(snapshot, snapshot.images[1].id), 20)
    assert {each.id for each in found} == {image.id for image in half.images}
