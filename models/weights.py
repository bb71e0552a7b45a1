"""Weights as data: what a file promises, whether values are sound, and one digest for all formats."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from twinlens.engine.errors import WeightsCorrupt, WeightsUnavailable

Shapes: TypeAlias = dict[str, tuple[int, ...]]
"""Shape of each tensor of a checkpoint, by its name there."""


def digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the tensors, sorted by name: names, dtypes, shapes and values; hexadecimal.

    It does not depend on the device or on the format of the file.
    """
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def require_finite(state: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        WeightsCorrupt: names the first such tensor.
    """
    for name, tensor in state.items():
        # NaN and infinity survive a sum, and a sum is several times as fast as looking at each value.
        if tensor.is_floating_point() and not tensor.sum().isfinite():
            raise WeightsCorrupt(f"{source}: {name} holds values that are not finite")


def read_exactly(path: Path, wanted: Shapes, known: str | None) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU, if they are those that are wanted.

    Args:
        path: the file.
        wanted: names and shapes of all its tensors.
        known: what `digest` gives for them; None takes any values that are finite.

    Raises:
        WeightsUnavailable: no such file.
        WeightsCorrupt: it holds other tensors.
    """
    shapes = read_shapes(path)
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsCorrupt(f"{path} cannot be read: {one_line(error)}") from error
    found = digest(state)
    if shapes != wanted or known not in (None, found):
        raise WeightsCorrupt(f"{path} holds other weights ({len(shapes)} tensors, digest {found[:16]})")
    require_finite(state, str(path))
    return state


def shapes_of(network: nn.Module) -> Shapes:
    """Names and shapes of what a network holds."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def read_shapes(path: Path) -> Shapes:
    """Names and shapes in a checkpoint, without reading its values.

    Takes what open_clip takes: .safetensors, or a torch file with a bare state dict or a training
    checkpoint with the key "state_dict"; a "module." before each name (left by data-parallel
    training) is dropped.

    Raises:
        WeightsUnavailable: no such file.
        WeightsCorrupt: the file is no checkpoint, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise WeightsUnavailable(f"{path} is no file: give the path of a checkpoint")
    try:
        shapes = _safetensors_shapes(path) if path.suffix == ".safetensors" else _torch_shapes(path)
    except Exception as error:
        raise WeightsCorrupt(f"{path} is no checkpoint that can be read: {one_line(error)}") from error
    if not shapes:
        raise WeightsCorrupt(f"{path} holds no tensors")
    return shapes


def one_line(error: Exception) -> str:
    """The type and the first lines of an error, short enough for a message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _safetensors_shapes(path: Path) -> Shapes:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _torch_shapes(path: Path) -> Shapes:
    # The meta device keeps shapes and drops values; weights_only keeps a pickle from running code.
    checkpoint: Any = torch.load(path, map_location="meta", weights_only=True)
    state = checkpoint.get("state_dict", checkpoint)
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return {name.removeprefix("module."): tuple(tensor.shape) for name, tensor in tensors.items()}
