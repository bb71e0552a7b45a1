"""Small CLIP checkpoints with random weights, made by open_clip itself."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "twinlens-vit": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT},
    "twinlens-vit-48": {"embed_dim": 32, "vision_cfg": {**VIT, "image_size": 48}, "text_cfg": TEXT},
    "twinlens-resnet": {"embed_dim": 24, "vision_cfg": RESNET, "text_cfg": TEXT},
    "twinlens-custom-text": {"embed_dim": 32, "custom_text": True, "vision_cfg": VIT, "text_cfg": TEXT},
}
OWN_PREPROCESS = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


@functools.cache
def register() -> None:
    """Teach open_clip the architectures above."""
    with tempfile.TemporaryDirectory() as folder:
        for name, config in ARCHITECTURES.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)


def random_state(architecture: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """The state dict of a model with random weights."""
    register()
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = open_clip.create_model(architecture, load_weights=False).state_dict()
    return state


def save_file_of(architecture: str, path: Path, seed: int = 0) -> Path:
    """A bare checkpoint; the suffix of the path chooses the format."""
    state = random_state(architecture, seed)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def save_folder_of(architecture: str, folder: Path, seed: int = 0) -> Path:
    """What `local-dir:` takes: weights, architecture and a preprocessing of its own."""
    folder.mkdir(parents=True)
    config = {"model_cfg": ARCHITECTURES[architecture], "preprocess_cfg": OWN_PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file_of(architecture, folder / "open_clip_model.safetensors", seed)
    return folder
