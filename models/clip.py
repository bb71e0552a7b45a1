"""CLIP models of open_clip, loaded through open_clip and equal to calling it by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import MaybeConvertMode
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from twinlens.engine.errors import ModelError, TextNotSupported, WeightsCorrupt
from twinlens.engine.types import (
    DecodePolicy,
    Embeddings,
    ModelDescription,
    OperatingPoints,
    Preparation,
    Prepared,
    Rgb,
    TextEmbedder,
)
from twinlens.models import hub, weights
from twinlens.models.clip_files import ClipFiles, locate
from twinlens.models.device import choose_device, choose_precision
from twinlens.models.embedder import TorchEmbedder
from twinlens.models.fitting import MiddleSquare, Squash

# Uncalibrated: what the field uses with CLIP. Immich and NeMo Curator call 0.99 a duplicate (and
# users report that edited copies are missed there), fastdup joins at 0.96, clip-retrieval at 0.94.
POINTS = OperatingPoints(strict=0.99, default=0.95, loose=0.9, measured=False)
FLOOR = 0.85

LICENCES = {"laion": "MIT", "openai": "MIT", "datacomp": "MIT"}
"""Licence of the weights by how the tag begins."""

TEXTS_AT_ONCE = 256

FILTERS = {
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}

Tokenizer = Callable[[Sequence[str]], torch.Tensor]


class ClipEmbedder(TorchEmbedder, TextEmbedder):
    """A CLIP model: images and, where its tokenizer is at hand, texts in one space."""

    def __init__(
        self,
        description: ModelDescription,
        device: str,
        precision: str,
        *,
        model: torch.nn.Module,
        preprocess: Compose,
        tokenizer: Tokenizer | None,
    ) -> None:
        super().__init__(description, device, precision)
        self._model: Any = model.to(device=device, dtype=self.dtype)
        self._geometry, self._normalise = split_preprocess(preprocess)
        self._preparation = preparation_of(self._geometry)
        self._tokenizer = tokenizer

    def prepare(self, image: Rgb) -> Prepared:
        """Resize and crop as the model was trained: uint8 [height, width, 3]."""
        if self._preparation is not None:
            return self._preparation(image)
        return np.asarray(self._geometry(Image.fromarray(image)))

    @property
    def preparation(self) -> Preparation | None:
        """What `prepare` does, for the ways of resizing that nearly all of open_clip has."""
        return self._preparation

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image features [n, dim] of uint8 [n, 3, height, width]."""
        # The steps and the memory layout of ToTensor, Normalize and torch.stack, bit for bit.
        scaled = pixels.contiguous().to(torch.float32).div(255)
        features: torch.Tensor = self._model.encode_image(
            self._normalise(scaled).to(self.dtype), normalize=False
        )
        return features

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Vectors of texts, float32 [n, dim], unit length, in order.

        Raises:
            TextNotSupported: the model's tokenizer is not on this machine.
        """
        if self._tokenizer is None:
            raise TextNotSupported(
                f"{self.description.name} has a tokenizer that is not on this machine: "
                "install transformers, and let it reach the hub once"
            )
        rows = [np.zeros((0, self.description.dim), np.float32)]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            tokens = self._tokenizer(list(texts[start : start + TEXTS_AT_ONCE]))
            rows.append(self.call(partial(self._embedded_text, tokens)))
        return np.concatenate(rows)

    def _embedded_text(self, tokens: torch.Tensor) -> Embeddings:
        return self.unit_rows(self._model.encode_text(tokens.to(self.device), normalize=False))


def load(name: str, *, device: str, precision: str) -> ClipEmbedder:
    """Load a CLIP model by one of the four forms of name that `clip_files` describes.

    Raises:
        UnknownModel: no such architecture or tag.
        WeightsUnavailable: neither on disk nor to be downloaded.
        WeightsCorrupt: the checkpoint is unreadable, or not one of this architecture.
        DeviceUnavailable: no such device.
        InvalidValue: unknown device or precision.
    """
    place = choose_device(device)
    arithmetic = choose_precision(precision, place)
    files = locate(name)
    model, preprocess = build(files)
    tokenizer = find_tokenizer(files)
    description = describe(files, model, text_capable=tokenizer is not None)
    return ClipEmbedder(
        description, place, arithmetic, model=model, preprocess=preprocess, tokenizer=tokenizer
    )


def build(files: ClipFiles) -> tuple[torch.nn.Module, Compose]:
    """The float32 model on the CPU with every weight from the checkpoint, and its preprocessing.

    Raises:
        ModelError: the architecture needs a package that is not installed.
        WeightsUnavailable: the text tower needs a configuration that cannot be had.
        WeightsCorrupt: the checkpoint is unreadable, or not one of this architecture.
    """
    shapes = weights.read_shapes(files.checkpoint)
    _require_text_tower(files)
    file = None if files.brings_config else str(files.checkpoint)
    try:
        # Loads with strict=True and weights_only=True, and insists on a checkpoint.
        model, preprocess = open_clip.create_model_from_pretrained(files.model_name, file, **files.overrides)
    except Exception as error:
        raise WeightsCorrupt(
            f"{files.checkpoint} does not hold the weights of {files.name}: {weights.one_line(error)}"
        ) from error
    _require_positions(model, shapes, files)
    weights.require_finite(model.state_dict(), str(files.checkpoint))
    return model.eval(), preprocess


def describe(files: ClipFiles, model: torch.nn.Module, *, text_capable: bool) -> ModelDescription:
    """The description of a float32 model on the CPU."""
    visual: Any = model.visual
    preprocess = dict(visual.preprocess_cfg)
    size = preprocess["size"]
    height, width = size = list(size) if isinstance(size, (tuple, list)) else [size, size]
    weights_digest = weights.digest(model.state_dict())
    with torch.inference_mode():
        encode_image: Any = model.encode_image
        dim = encode_image(torch.zeros(1, 3, height, width)).shape[1]
    return ModelDescription(
        name=files.name,
        revision=files.tag or _content_revision(files, weights_digest),
        dim=dim,
        preprocess=json.dumps(preprocess | {"size": size}, sort_keys=True),
        decode=DecodePolicy(min_side=max(height, width)),
        licence=next(
            (word for tag, word in LICENCES.items() if (files.tag or "").startswith(tag)), "see model card"
        ),
        text_capable=text_capable,
        isolation=None,
        points=POINTS,
        floor=FLOOR,
        weights_digest=weights_digest,
    )


def split_preprocess(preprocess: Compose) -> tuple[Compose, Normalize]:
    """open_clip's preprocessing as the part on PIL images, for any thread, and the part on tensors.

    Raises:
        ModelError: it does not end with ToTensor and Normalize, as it does in all of open_clip.
    """
    *geometry, to_tensor, normalise = preprocess.transforms
    if not (isinstance(to_tensor, ToTensor) and isinstance(normalise, Normalize)):
        raise ModelError(f"this version of open_clip preprocesses in an unknown way: {preprocess}")
    return Compose(geometry), normalise


def preparation_of(geometry: Compose) -> Preparation | None:
    """The same as torchvision's steps on PIL images, without torch; None where they are others."""
    steps = [step for step in geometry.transforms if not isinstance(step, MaybeConvertMode)]
    first, *others = steps or [None]
    if type(first) is not Resize or first.max_size is not None or first.interpolation not in FILTERS:
        return None
    size, how = first.size, FILTERS[first.interpolation]
    if isinstance(size, int):
        squares = [tuple(step.size) for step in others if type(step) is CenterCrop]
        return MiddleSquare(size, how) if len(others) == 1 and squares == [(size, size)] else None
    return Squash(size[1], size[0], how) if len(size) == 2 and not others else None


def find_tokenizer(files: ClipFiles) -> Tokenizer | None:
    """The model's own tokenizer, None where it is a download that cannot be had."""
    source: str = _read_text_config(files).get("hf_tokenizer_name", "")
    if source and find_spec("transformers") is None:
        return None
    comes_from_hub = source != "" and not files.name.startswith("local-dir:")
    try:
        if comes_from_hub:
            hub.fetch(source, ("tokenizer.json", "tokenizer_config.json", "vocab.txt"))
        by_repository = comes_from_hub and files.brings_config
        tokenizer: Tokenizer = open_clip.get_tokenizer(files.name if by_repository else files.model_name)
    except Exception:
        # Whatever is missing (a vocabulary, a package, the network), images work without it.
        return None
    return tokenizer


def _read_text_config(files: ClipFiles) -> dict[str, Any]:
    try:
        text_config: dict[str, Any] = open_clip.get_model_config(files.model_name)["text_cfg"]
    except Exception as error:
        reason = weights.one_line(error)
        raise WeightsCorrupt(f"the open_clip_config.json of {files.name}: {reason}") from error
    return text_config


def _require_text_tower(files: ClipFiles) -> None:
    """Text towers of transformers read a configuration from the hub, even when weights are at hand."""
    tower = _read_text_config(files).get("hf_model_name")
    if not tower:
        return
    if find_spec("transformers") is None:
        raise ModelError(f"{files.name} needs transformers: pip install transformers")
    if not Path(tower).exists():
        hub.fetch(tower, ("config.json",))


def _require_positions(model: torch.nn.Module, shapes: weights.Shapes, files: ClipFiles) -> None:
    """Refuse positional embeddings of another size, which open_clip would interpolate in silence."""
    state = model.state_dict()
    for kind in ("visual.positional_embedding", "text.positional_embedding", "positional_embedding"):
        wanted = state.get(kind, state.get(kind.removeprefix("text.")))
        found = shapes.get(kind)
        if wanted is not None and found is not None and tuple(wanted.shape) != found:
            raise WeightsCorrupt(
                f"{files.checkpoint} does not hold the weights of {files.name}: {kind} is {found}, not "
                f"{tuple(wanted.shape)}; a model of another image size or text length needs local-dir: "
                "with its own open_clip_config.json"
            )


def _content_revision(files: ClipFiles, weights_digest: str) -> str:
    """A revision for weights without a tag: their digest, and their configuration where they bring one."""
    config = open_clip.get_model_config(files.model_name) if files.brings_config else None
    content = json.dumps([config, weights_digest], sort_keys=True)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()[:16]}"
