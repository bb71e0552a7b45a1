"""Equal to calling open_clip by hand, bit for bit; a checkpoint that does not fit is an error."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import Compose, Resize

from tests.models.checkpoints import OWN_PREPROCESS, random_state, register, save_file_of, save_folder_of
from twinlens.engine.errors import ModelError, TextNotSupported, WeightsCorrupt
from twinlens.engine.types import Rgb, TextEmbedder
from twinlens.models import load_model
from twinlens.models.clip import ClipEmbedder, build, split_preprocess
from twinlens.models.clip_files import locate

TEXTS = ["a photo of a cat", "", "Zwei Hunde am Strand, im Regen " * 20]


@pytest.fixture(autouse=True)
def architectures() -> None:
    register()


@pytest.fixture
def pictures(rng: np.random.Generator) -> list[Rgb]:
    sizes = [(40, 60), (31, 90), (200, 120), (1, 1), (32, 32)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def load_clip(name: str, precision: str = "float32") -> ClipEmbedder:
    embedder = load_model(name, device="cpu", precision=precision)
    assert isinstance(embedder, ClipEmbedder)
    return embedder


def by_hand(
    model_name: str, pretrained: str | None, pictures: Sequence[Rgb], texts: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    model, preprocess = open_clip.create_model_from_pretrained(model_name, pretrained)
    model.eval()
    tokens = open_clip.get_tokenizer(model_name)(list(texts))
    with torch.inference_mode():
        images = torch.stack([preprocess(Image.fromarray(rgb)) for rgb in pictures])
        return model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)


def assert_equal_by_hand(name: str, model_name: str, pretrained: str | None, pictures: Sequence[Rgb]) -> None:
    embedder = load_clip(name)
    images, texts = by_hand(model_name, pretrained, pictures, TEXTS)
    assert torch.equal(torch.from_numpy(embedder.embed_images(pictures)), images)
    assert torch.equal(torch.from_numpy(embedder.embed_texts(TEXTS)), texts)
    assert embedder.description.dim == images.shape[1]


@pytest.mark.parametrize("architecture", ["twinlens-vit", "twinlens-resnet", "twinlens-custom-text"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_bare_file_equals_open_clip_by_hand(
    architecture: str, suffix: str, pictures: list[Rgb], tmp_path: Path
) -> None:
    path = save_file_of(architecture, tmp_path / f"w.{suffix}")
    assert_equal_by_hand(f"{architecture}@{path}", architecture, str(path), pictures)


def test_registered_architectures_equal_open_clip_by_hand(pictures: list[Rgb], tmp_path: Path) -> None:
    for architecture in ("ViT-S-32-alt", "ViT-S-16-alt"):
        path = save_file_of(architecture, tmp_path / f"{architecture}.pt")
        assert_equal_by_hand(f"{architecture}@{path}", architecture, str(path), pictures)
        path.unlink()


def test_a_folder_brings_its_own_preprocessing(pictures: list[Rgb], tmp_path: Path) -> None:
    name = f"local-dir:{save_folder_of('twinlens-vit', tmp_path / 'own')}"
    assert_equal_by_hand(name, name, None, pictures)
    description = load_clip(name).description
    for key in ("mean", "interpolation", "resize_mode"):
        assert f'"{key}": {OWN_PREPROCESS[key]}'.replace("'", '"') in description.preprocess.replace(
            f'"{OWN_PREPROCESS[key]}"', str(OWN_PREPROCESS[key])
        )
    plain = load_clip(f"twinlens-vit@{tmp_path / 'own' / 'open_clip_model.safetensors'}")
    assert plain.description.weights_digest == description.weights_digest
    assert not np.array_equal(plain.embed_images(pictures), load_clip(name).embed_images(pictures))


def test_every_weight_comes_from_the_file(tmp_path: Path) -> None:
    path = save_file_of("twinlens-vit", tmp_path / "w.pt", seed=5)
    model, _ = build(locate(f"twinlens-vit@{path}"))
    saved, loaded = random_state("twinlens-vit", seed=5), model.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    assert not model.training


def test_all_formats_of_a_checkpoint_are_one_model(pictures: list[Rgb], tmp_path: Path) -> None:
    state = random_state("twinlens-vit")
    torch.save(state, tmp_path / "bare.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "bare.safetensors")
    data_parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    training = {"epoch": 3, "name": "run", "state_dict": data_parallel, "optimizer": {"lr": 0.1}}
    torch.save(training, tmp_path / "training.pt")
    models = [load_clip(f"twinlens-vit@{path}") for path in sorted(tmp_path.iterdir())]
    assert len({model.description.weights_digest for model in models}) == 1
    assert len({model.description.revision for model in models}) == 1
    rows = [model.embed_images(pictures) for model in models]
    assert all(np.array_equal(rows[0], other) for other in rows[1:])


def broken(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    name = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    if how == "missing":
        return {key: tensor for key, tensor in state.items() if key != name}
    if how == "unexpected":
        return {**state, "visual.extra": torch.zeros(2)}
    if how == "shape":
        return {**state, name: state[name][:-1].clone()}
    if how == "not finite":
        return {**state, name: torch.full_like(state[name], torch.inf)}
    return {}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("how", ["missing", "unexpected", "shape", "not finite", "empty"])
def test_a_checkpoint_that_does_not_fit_is_corrupt(how: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{suffix}"
    state = broken(random_state("twinlens-vit"), how)
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    with pytest.raises(WeightsCorrupt, match=str(path)):
        load_clip(f"twinlens-vit@{path}")


@pytest.mark.parametrize("other", ["twinlens-resnet", "twinlens-vit-48"])
def test_weights_of_another_architecture_are_corrupt(other: str, tmp_path: Path) -> None:
    path = save_file_of(other, tmp_path / "w.pt")
    with pytest.raises(WeightsCorrupt, match="twinlens-vit@"):
        load_clip(f"twinlens-vit@{path}")


@pytest.mark.parametrize("form", ["whole.pt", "whole.safetensors", "legacy.pt"])
@pytest.mark.parametrize("kept", [0, 1, 100, 0.1, 0.5, 0.9, 0.999, -1])
def test_a_truncated_checkpoint_is_corrupt(kept: float, form: str, tmp_path: Path) -> None:
    whole_path = save_file_of("twinlens-vit", tmp_path / form)
    if form == "legacy.pt":
        torch.save(random_state("twinlens-vit"), whole_path, _use_new_zipfile_serialization=False)
    whole = whole_path.read_bytes()
    path = tmp_path / f"w{whole_path.suffix}"
    path.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(WeightsCorrupt, match=str(path)):
        load_clip(f"twinlens-vit@{path}")


@pytest.mark.parametrize("kept", [0, 0.5, 0.999])
def test_truncated_weights_in_a_folder_are_corrupt(kept: float, tmp_path: Path) -> None:
    folder = save_folder_of("twinlens-vit", tmp_path / "own")
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(WeightsCorrupt, match=str(path)):
        load_clip(f"local-dir:{folder}")


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}', '{"model_cfg": {'])
def test_a_folder_with_a_broken_config_is_corrupt(config: str, tmp_path: Path) -> None:
    folder = save_folder_of("twinlens-vit", tmp_path / "own")
    (folder / "open_clip_config.json").write_text(config)
    with pytest.raises(WeightsCorrupt, match="own"):
        load_clip(f"local-dir:{folder}")


def test_prepared_images_are_small_and_equal_in_shape(pictures: list[Rgb], tmp_path: Path) -> None:
    embedder = load_clip(f"twinlens-vit@{save_file_of('twinlens-vit', tmp_path / 'w.pt')}")
    prepared = [embedder.prepare(picture) for picture in pictures]
    assert {(one.shape, one.dtype) for one in prepared} == {((32, 32, 3), np.dtype(np.uint8))}


def test_the_name_loads_the_same_model_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file_of("twinlens-vit", tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    first = load_clip("twinlens-vit@w.pt").description
    monkeypatch.chdir("/")
    assert load_clip(first.name).description == first
    assert first.points.measured is False and first.isolation is None
    assert first.decode.min_side == 32 and first.licence == "see model card" and first.text_capable


def test_a_change_of_weights_or_configuration_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = save_folder_of("twinlens-vit", tmp_path / "own")
    config = folder / "open_clip_config.json"
    prints = {load_clip(f"local-dir:{folder}").description.fingerprint}
    # Another activation leaves weights and preprocessing as they were, but not the vectors.
    config.write_text(config.read_text().replace('"embed_dim"', '"quick_gelu": true, "embed_dim"'))
    prints.add(load_clip(f"local-dir:{folder}").description.fingerprint)
    save_file_of("twinlens-vit", folder / "open_clip_model.safetensors", seed=1)
    prints.add(load_clip(f"local-dir:{folder}").description.fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("architecture", ["twinlens-vit", "twinlens-resnet", "twinlens-custom-text"])
def test_bfloat16_stays_close_and_of_unit_length(
    architecture: str, pictures: list[Rgb], tmp_path: Path
) -> None:
    name = f"{architecture}@{save_file_of(architecture, tmp_path / 'w.pt')}"
    exact, narrow = load_clip(name), load_clip(name, "bfloat16")
    assert exact.description == narrow.description
    for mine, wide in (
        (narrow.embed_images(pictures), exact.embed_images(pictures)),
        (narrow.embed_texts(TEXTS), exact.embed_texts(TEXTS)),
    ):
        assert mine.dtype == np.float32
        assert np.abs(np.linalg.norm(mine, axis=1) - 1).max() < 1e-6
        assert (mine * wide).sum(axis=1).min() > 0.998


def test_texts_come_in_any_number(tmp_path: Path) -> None:
    embedder = load_clip(f"twinlens-vit@{save_file_of('twinlens-vit', tmp_path / 'w.pt')}")
    assert isinstance(embedder, TextEmbedder)
    assert embedder.embed_texts([]).shape == (0, 32)
    many = embedder.embed_texts([f"text {number}" for number in range(300)])
    assert many.shape == (300, 32)
    assert np.abs(many[299] - embedder.embed_texts(["text 299"])[0]).max() < 1e-6


def test_images_work_without_the_tokenizer_and_texts_say_why(pictures: list[Rgb], tmp_path: Path) -> None:
    folder = save_folder_of("twinlens-vit", tmp_path / "own")
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"heads"', '"hf_tokenizer_name": "org/name", "heads"'))
    embedder = load_clip(f"local-dir:{folder}")
    assert not embedder.description.text_capable
    assert embedder.embed_images(pictures).shape == (5, 32)
    with pytest.raises(TextNotSupported, match="install transformers"):
        embedder.embed_texts(["a cat"])


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_a_text_tower_of_transformers_says_what_to_install(tmp_path: Path) -> None:
    folder = save_folder_of("twinlens-vit", tmp_path / "own")
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"heads"', '"hf_model_name": "org/name", "heads"'))
    with pytest.raises(ModelError, match="needs transformers: pip install transformers"):
        load_clip(f"local-dir:{folder}")


def test_an_unknown_preprocessing_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown way"):
        split_preprocess(Compose([Resize(3), Resize(4)]))


def test_a_checkpoint_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a local checkpoint asked for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_clip(f"twinlens-vit@{save_file_of('twinlens-vit', tmp_path / 'w.pt')}")
