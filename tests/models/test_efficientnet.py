"""The embedded default knows real photographs, keeps twins together and refuses other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image

from twinlens.engine.errors import WeightsCorrupt, WeightsUnavailable
from twinlens.engine.types import Rgb, TextEmbedder
from twinlens.models import efficientnet, load_model

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "hubble_deep_field", "retina")


@pytest.fixture(scope="module")
def photographs() -> dict[str, Rgb]:
    load = {name: getattr(skimage.data, name) for name in PHOTOGRAPHS}
    return {name: np.asarray(Image.fromarray(read()).convert("RGB")) for name, read in load.items()}


@pytest.fixture(scope="module")
def unfolded() -> Any:
    """timm's model with the package's weights in timm's order, classifier and all."""
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(efficientnet.find_weights(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model


def as_batch(embedder: efficientnet.EfficientNetEmbedder, pictures: list[Rgb]) -> torch.Tensor:
    return torch.from_numpy(np.stack([embedder.prepare(picture) for picture in pictures])).permute(0, 3, 1, 2)


def test_the_weights_name_real_photographs(photographs: dict[str, Rgb], unfolded: Any) -> None:
    embedder = efficientnet.load(device="cpu", precision="float32")
    shown = {"chelsea": "Egyptian cat", "coffee": "espresso", "camera": "tripod"}
    pixels = as_batch(embedder, [photographs[name] for name in shown])
    with torch.inference_mode():
        classes = unfolded((pixels.float() - 127.5) / 127.5).argmax(dim=1).tolist()
    names = timm.data.ImageNetInfo()
    assert [names.index_to_description(index).split(",")[0] for index in classes] == list(shown.values())


def test_vectors_are_the_pooled_feature_map_of_timm(photographs: dict[str, Rgb], unfolded: Any) -> None:
    embedder = efficientnet.load(device="cpu", precision="float32")
    pictures = list(photographs.values())
    with torch.inference_mode():
        maps = unfolded.forward_features((as_batch(embedder, pictures).float() - 127.5) / 127.5).double()
    pooled = maps.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    wanted = pooled / pooled.norm(dim=1, keepdim=True)
    assert np.abs(embedder.embed_images(pictures) - wanted.numpy()).max() < 1e-5


def test_bfloat16_keeps_real_photographs_where_they_are(photographs: dict[str, Rgb]) -> None:
    pictures = list(photographs.values())
    exact = load_model("efficientnet_lite0", device="cpu", precision="float32").embed_images(pictures)
    narrow = load_model("efficientnet_lite0", device="cpu", precision="bfloat16").embed_images(pictures)
    assert (exact * narrow).sum(axis=1).min() > 0.998
    assert np.abs(exact @ exact.T - narrow @ narrow.T).max() < 0.02


def test_edited_copies_are_nearer_than_other_pictures(photographs: dict[str, Rgb]) -> None:
    embedder = load_model("efficientnet_lite0", device="cpu")
    originals = [Image.fromarray(picture) for picture in photographs.values()]
    edits = [image.resize((image.width // 2, image.height // 2)) for image in originals]
    edits += [image.crop((10, 10, image.width - 20, image.height - 5)) for image in originals]
    edits += [image.rotate(2, Image.Resampling.BICUBIC) for image in originals]
    vectors = embedder.embed_images([np.asarray(image) for image in originals])
    similarity = embedder.embed_images([np.asarray(image) for image in edits]) @ vectors.T
    assert similarity.argmax(axis=1).tolist() == [*range(len(originals))] * 3
    points = embedder.description.points
    assert points.measured
    assert similarity[: 2 * len(originals)].max(axis=1).min() > points.default
    assert similarity.max(axis=1).min() > embedder.description.floor
    assert (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)].max() < embedder.description.floor


def test_prepared_pictures_are_whole_small_squares() -> None:
    embedder = load_model("efficientnet_lite0", device="cpu")
    wide = np.zeros((40, 400, 3), np.uint8)
    wide[:, :20] = 255
    prepared = embedder.prepare(wide)
    assert prepared.shape == (224, 224, 3) and prepared.dtype == np.uint8
    # A twentieth of the width is still a twentieth: nothing was cut off.
    assert prepared[:, :10].min() > 250 and prepared[:, 13:].max() < 5
    assert embedder.description.decode.min_side == 224


def test_it_is_an_image_model() -> None:
    embedder = load_model("efficientnet_lite0", device="cpu")
    assert not embedder.description.text_capable
    assert not isinstance(embedder, TextEmbedder)
    assert embedder.description.licence == "Apache-2.0"


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.999])
def test_truncated_weights_are_corrupt(kept: float, tmp_path: Path) -> None:
    whole = efficientnet.find_weights().read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else 1])
    with pytest.raises(WeightsCorrupt, match=r"w\.pth"):
        efficientnet.build(tmp_path / "w.pth")


@pytest.mark.parametrize("change", ["one value", "one name less"])
def test_other_weights_are_corrupt(change: str, tmp_path: Path) -> None:
    state = torch.load(efficientnet.find_weights(), weights_only=True)
    if change == "one value":
        state["_conv_head.weight"][0, 0, 0, 0] += 1e-3
    else:
        del state["_bn0.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsCorrupt, match="holds other weights"):
        efficientnet.build(tmp_path / "w.pth")


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="no file"):
        efficientnet.build(tmp_path / "w.pth")
