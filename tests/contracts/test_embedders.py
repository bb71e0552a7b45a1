"""What every embedder owes its users, on every device; CUDA is skipped aloud where there is none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.fakes import load_fake
from tests.models.checkpoints import register, save_file_of, save_folder_of
from twinlens.engine.types import Embedder, Embeddings, ModelDescription, Rgb, TextEmbedder
from twinlens.models import load_model

EMBEDDERS = [
    "colour_grid",
    "efficientnet_lite0",
    "twinlens_copy512",
    "twinlens_fast512",
    "clip_file",
    "clip_file_resnet",
    "clip_folder",
]
SINGLE_TOLERANCE = {"int8": 1e-6, "float32": 1e-6, "bfloat16": 2e-3, "float16": 5e-4}
"""How far a number of a row may move when the batch has another size, by precision."""


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    register()
    folder = tmp_path_factory.mktemp("checkpoints")
    vit = save_file_of("twinlens-vit", folder / "vit.pt")
    resnet = save_file_of("twinlens-resnet", folder / "resnet.safetensors")
    own = save_folder_of("twinlens-vit", folder / "own")
    return {
        "clip_file": f"twinlens-vit@{vit}",
        "clip_file_resnet": f"twinlens-resnet@{resnet}",
        "clip_folder": f"local-dir:{own}",
    }


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine: the embedders were not run on CUDA")
    return str(request.param)


@pytest.fixture(scope="module", params=["float32", "auto"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=EMBEDDERS)
def embedder(
    request: pytest.FixtureRequest, device: str, precision: str, checkpoints: dict[str, str]
) -> Embedder:
    if request.param == "colour_grid":
        return load_fake("colour_grid")
    return load_model(checkpoints.get(request.param, request.param), device=device, precision=precision)


@pytest.fixture(scope="module")
def pictures() -> list[Rgb]:
    """Coloured tiles in pictures of many shapes, the smallest one pixel large."""
    rng = np.random.default_rng(7)

    def tiles(height: int, width: int) -> Rgb:
        colours = rng.integers(0, 256, (1 + height // 9, 1 + width // 9, 3), dtype=np.uint8)
        return np.ascontiguousarray(colours.repeat(9, axis=0).repeat(9, axis=1)[:height, :width])

    sizes = [(300, 200), (64, 64), (1, 1), (33, 500), (224, 224), (97, 31), (5, 5), (480, 640)]
    return [tiles(*size) for size in sizes]


@pytest.fixture(scope="module")
def vectors(embedder: Embedder, pictures: list[Rgb]) -> Embeddings:
    return embedder.embed_images(pictures)


def test_it_is_an_embedder(embedder: Embedder) -> None:
    assert isinstance(embedder, Embedder)
    assert embedder.device in ("cpu", "cuda")
    assert embedder.precision in SINGLE_TOLERANCE


def test_rows_are_float32_finite_and_of_unit_length(embedder: Embedder, vectors: Embeddings) -> None:
    assert vectors.shape == (8, embedder.description.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_a_batch_equals_its_images_one_by_one(
    embedder: Embedder, pictures: list[Rgb], vectors: Embeddings
) -> None:
    single = np.concatenate([embedder.embed_images([picture]) for picture in pictures])
    assert np.abs(single - vectors).max() <= SINGLE_TOLERANCE[embedder.precision]


def test_order_is_kept_and_neighbours_do_not_matter(
    embedder: Embedder, pictures: list[Rgb], vectors: Embeddings
) -> None:
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    assert np.array_equal(embedder.embed_images([pictures[i] for i in order]), vectors[order])
    assert np.array_equal(
        embedder.embed_images([pictures[i] for i in (5, 5, 1, 5, 4, 4, 4, 7)])[3], vectors[5]
    )


def test_the_same_batch_gives_the_same_rows(
    embedder: Embedder, pictures: list[Rgb], vectors: Embeddings
) -> None:
    assert np.array_equal(embedder.embed_images(pictures), vectors)


def test_preparing_first_and_embedding_later_is_the_same(
    embedder: Embedder, pictures: list[Rgb], vectors: Embeddings
) -> None:
    prepared = [embedder.prepare(picture) for picture in pictures]
    assert len({(one.shape, one.dtype) for one in prepared}) == 1
    assert np.array_equal(embedder.embed_prepared(prepared), vectors)


def test_nothing_in_nothing_out(embedder: Embedder) -> None:
    empty = embedder.embed_images([])
    assert empty.shape == (0, embedder.description.dim) and empty.dtype == np.float32


def test_arguments_are_not_changed(embedder: Embedder, pictures: list[Rgb]) -> None:
    picture = pictures[0].copy()
    picture.setflags(write=False)
    prepared = embedder.prepare(picture)
    before = prepared.copy()
    embedder.embed_prepared([prepared])
    assert np.array_equal(picture, pictures[0]) and np.array_equal(prepared, before)


def test_a_description_survives_json(embedder: Embedder) -> None:
    description = embedder.description
    assert ModelDescription.from_json(description.to_json()) == description
    assert ModelDescription.from_json(description.to_json()).fingerprint == description.fingerprint


def test_a_description_makes_sense(embedder: Embedder) -> None:
    description = embedder.description
    points = description.points
    assert 0 < description.floor < points.loose < points.default < points.strict < 1
    assert description.isolation is None or 0 < description.isolation <= 0.9
    assert len(description.weights_digest) == 64
    assert description.decode.min_side
    assert description.text_capable == isinstance(embedder, TextEmbedder)


def test_the_name_loads_the_same_model(embedder: Embedder) -> None:
    load = load_fake if embedder.description.name == "colour_grid" else load_model
    assert load(embedder.description.name).description.fingerprint == embedder.description.fingerprint


def test_texts_share_the_space(embedder: Embedder) -> None:
    if not isinstance(embedder, TextEmbedder):
        assert not embedder.description.text_capable
        return
    rows = embedder.embed_texts(["a cat", "two dogs", "a cat"])
    assert rows.shape == (3, embedder.description.dim) and rows.dtype == np.float32
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6
    assert np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[1])


def test_another_process_gives_the_same_rows() -> None:
    here = load_model("efficientnet_lite0", device="cpu")
    code = (
        "import sys, numpy as np; from twinlens.models import load_model;"
        "e = load_model('efficientnet_lite0', device='cpu');"
        "x = np.random.default_rng(3).integers(0, 256, (4, 90, 70, 3), dtype=np.uint8);"
        "sys.stdout.write(e.description.fingerprint + e.embed_images(x).tobytes().hex())"
    )
    noise = np.random.default_rng(3).integers(0, 256, (4, 90, 70, 3), dtype=np.uint8)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == here.description.fingerprint + here.embed_images(list(noise)).tobytes().hex()
