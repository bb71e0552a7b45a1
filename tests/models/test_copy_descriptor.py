"""The copy descriptor sees through edits that the plain backbone does not, and refuses other weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

from twinlens.engine.errors import WeightsCorrupt, WeightsUnavailable
from twinlens.engine.types import Embedder, Embeddings, Rgb, TextEmbedder
from twinlens.models import copy_descriptor, load_model, weights
from twinlens.models.copy_descriptor import (
    BACKGROUND,
    CROWD,
    CROWDED,
    FAST_NAME,
    NAME,
    ROW_DIM,
    SHARES,
    VARIANTS,
    WEIGHTS,
    WEIGHTS_DIGEST,
    CopyDescriptorEmbedder,
    read_network,
    squashed,
    with_constant,
)
from twinlens.models.frames import Inner


@pytest.fixture(scope="module", params=[NAME, FAST_NAME])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return load_model(request.param, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def photographs(pictures: list[Image.Image]) -> list[Rgb]:
    return [np.asarray(picture) for picture in pictures]


def screenshot(image: Image.Image) -> Image.Image:
    screen = Image.new("RGB", (image.width * 3 // 2, image.height * 3 // 2), "whitesmoke")
    screen.paste("steelblue", (0, 0, screen.width, screen.height // 12))
    screen.paste(image, (image.width // 4, image.height // 4))
    return screen


def small_crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 5, height // 6, width * 4 // 5, height * 4 // 5))


def right_ones(embedder: Embedder, photographs: list[Rgb], edited: list[Image.Image]) -> float:
    """Share of edits that are nearest to their own picture, by the margin to the next."""
    originals: Embeddings = embedder.embed_images(photographs)
    cosines = embedder.embed_images([np.asarray(image) for image in edited]) @ originals.T
    return float(np.mean(cosines.argmax(axis=1) == np.arange(len(photographs))))


@pytest.mark.parametrize(
    "edit",
    [screenshot, small_crop, ImageOps.mirror, ImageOps.invert, lambda image: image.rotate(90, expand=True)],
    ids=["screenshot", "crop", "mirrored", "inverted", "quarter turn"],
)
def test_edits_are_seen_through(embedder: Embedder, photographs: list[Rgb], edit: object) -> None:
    assert callable(edit)
    edited = [edit(Image.fromarray(picture)) for picture in photographs]
    assert right_ones(embedder, photographs, edited) == 1


@pytest.mark.parametrize("name", [NAME, FAST_NAME])
@pytest.mark.parametrize(
    ("copies", "places"),
    [(1, [1, 4]), (4, [0, 3, 7, 8, 12, 17, 19]), (4, [5]), (4, [])],
    ids=["few", "more than fit beside the whole ones", "fewer", "none"],
)
def test_a_framed_picture_lies_between_its_whole_and_what_is_in_the_frame(
    name: str, copies: int, places: list[int], photographs: list[Rgb]
) -> None:
    embedder = load_model(name, device="cpu", precision="float32")
    assert isinstance(embedder, CopyDescriptorEmbedder)
    side = VARIANTS[name].side
    whole = torch.from_numpy(np.stack([squashed(picture, side) for picture in photographs])).permute(
        0, 3, 1, 2
    )
    whole = whole.repeat(copies, 1, 1, 1)
    inner, chosen = whole.flip(3).contiguous(), torch.tensor(places, dtype=torch.int64)
    with torch.inference_mode():
        of_whole, of_inner = (embedder._network(each) for each in (whole, inner))
        for weight in (0.5, 0.25):
            found = Inner(chosen, inner[chosen], torch.full((len(places), 1), weight))
            embedder._finder.inner = lambda _, found=found: found  # type: ignore[method-assign, misc]
            wanted = of_whole.clone()
            mean = weight * of_inner[chosen] + (1 - weight) * of_whole[chosen]
            wanted[chosen] = torch.nn.functional.normalize(mean, dim=1)
            assert torch.allclose(embedder._rows(whole), wanted, atol=1e-4)


def test_a_constant_raises_cosines_and_keeps_their_order() -> None:
    rows = torch.nn.functional.normalize(torch.randn(6, 9, generator=torch.Generator().manual_seed(1)), dim=1)
    raised = with_constant(rows, torch.full((6, 1), 0.3))
    assert torch.allclose(raised.norm(dim=1), torch.ones(6))
    assert torch.allclose(raised @ raised.T, 0.3 + 0.7 * rows @ rows.T, atol=1e-6)


def test_the_constant_is_in_every_row_and_smaller_where_pictures_are_alike(photographs: list[Rgb]) -> None:
    """A background in which three pictures look as the first photograph does."""
    embedder = load_model(NAME, device="cpu", precision="float32")
    assert isinstance(embedder, CopyDescriptorEmbedder)
    variant, (low, high) = VARIANTS[NAME], SHARES
    shares = embedder.embed_images(photographs)[:, -1] ** 2
    assert ((shares >= low) & (shares <= high)).all()
    assert np.abs(np.median(shares) - variant.constant) < 0.02
    row = embedder.embed_images(photographs[:1])[0, :-1]
    embedder._network.background[:3] = torch.from_numpy(row / np.linalg.norm(row))
    crowded = embedder.embed_images(photographs)
    assert np.allclose(np.linalg.norm(crowded, axis=1), 1, atol=1e-5)
    expected = variant.constant - variant.slope * (1 - CROWDED)
    assert crowded[0, -1] ** 2 == pytest.approx(expected, abs=1e-3)
    assert shares[0] > expected + 0.05
    rows = crowded[1:, :-1] / np.linalg.norm(crowded[1:, :-1], axis=1, keepdims=True)
    nearest = np.sort(rows @ embedder._network.background.numpy().T, axis=1)[:, -CROWD:]
    wanted = variant.constant - variant.slope * (nearest.mean(axis=1) - CROWDED)
    assert np.allclose(crowded[1:, -1] ** 2, wanted, atol=1e-3), (
        "the others have the shares of their own crowds"
    )


def test_a_row_is_as_crowded_as_its_most_similar_three_of_the_background() -> None:
    network, _ = read_network(WEIGHTS, WEIGHTS_DIGEST)
    assert torch.allclose(network.background.norm(dim=1), torch.ones(BACKGROUND), atol=1e-3)
    network.background[:4] = torch.eye(4, ROW_DIM)
    network.background[4:] = -torch.eye(1, ROW_DIM)
    row = torch.nn.functional.normalize(torch.tensor([[0.8, 0.6, 0.2, 0.1] + [0.0] * (ROW_DIM - 4)]), dim=1)
    assert network.crowding(row).item() == pytest.approx(row[0, :3].mean().item(), abs=1e-6)


def test_prepared_pictures_are_whole_small_squares(embedder: Embedder) -> None:
    wide = np.zeros((40, 400, 3), np.uint8)
    wide[:, :20] = 255
    prepared = embedder.prepare(wide)
    side = VARIANTS[embedder.description.name].side
    assert prepared.shape == (side, side, 3) and prepared.dtype == np.uint8
    assert prepared[:, : side // 28].min() > 250 and prepared[:, side // 16 :].max() < 5


def test_it_is_an_image_model(embedder: Embedder) -> None:
    description = embedder.description
    assert not description.text_capable and not isinstance(embedder, TextEmbedder)
    assert description.decode.min_side == VARIANTS[embedder.description.name].side and description.dim == 512


def test_bfloat16_keeps_photographs_where_they_are(embedder: Embedder, photographs: list[Rgb]) -> None:
    exact = embedder.embed_images(photographs)
    name = embedder.description.name
    narrow = load_model(name, device="cpu", precision="bfloat16").embed_images(photographs)
    assert (exact * narrow).sum(axis=1).min() > 0.995
    assert np.abs(exact @ exact.T - narrow @ narrow.T).max() < 0.02


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_small_and_their_log_is_beside_them(name: str) -> None:
    variant = VARIANTS[name]
    assert variant.weights.stat().st_size <= 10_000_000
    state = load_file(variant.weights)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert weights.digest(state) == variant.digest
    lines = variant.weights.with_suffix(".log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    steps = [entry["plan"]["steps"] for entry in entries if "plan" in entry]
    assert entries[-1]["step"] == steps[-1]
    validated = [
        {side: scores for side, scores in entry.items() if side.startswith("at ")} for entry in entries
    ]
    first, *_, last = [scores for scores in validated if scores]
    assert first and all(last[side]["uap"] > first[side]["uap"] + 0.1 for side in first)


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.999])
def test_truncated_weights_are_corrupt(kept: float, tmp_path: Path) -> None:
    whole = copy_descriptor.WEIGHTS.read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else 1])
    with pytest.raises(WeightsCorrupt, match=r"w\.safetensors"):
        copy_descriptor.load(device="cpu", precision="float32", path=tmp_path / "w.safetensors")


@pytest.mark.parametrize("change", ["one value", "one name less"])
def test_other_weights_are_corrupt(change: str, tmp_path: Path) -> None:
    state = load_file(copy_descriptor.WEIGHTS)
    if change == "one value":
        state["projection.bias"][0] += 1e-2
    else:
        del state["projection.bias"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsCorrupt, match="holds other weights"):
        copy_descriptor.load(device="cpu", precision="float32", path=tmp_path / "w.safetensors")


def test_missing_weights_are_unavailable(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="no file"):
        copy_descriptor.load(device="cpu", precision="float32", path=tmp_path / "w.safetensors")


def test_the_same_picture_gives_the_same_bytes(embedder: Embedder, photographs: list[Rgb]) -> None:
    digests = {hashlib.sha256(embedder.embed_images(photographs).tobytes()).digest() for _ in range(2)}
    assert len(digests) == 1
