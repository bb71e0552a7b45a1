"""One digest for all formats, and every kind of file that is no checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from twinlens.engine.errors import WeightsCorrupt, WeightsUnavailable
from twinlens.models.weights import digest, read_shapes, require_finite

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(7),
    "c": torch.ones(2, dtype=torch.bfloat16),
}


def test_digest_knows_neither_order_nor_layout() -> None:
    strided = {"c": STATE["c"], "b": STATE["b"], "a.weight": STATE["a.weight"].T.contiguous().T}
    assert not strided["a.weight"].is_contiguous()
    assert digest(strided) == digest(STATE)
    # Pinned: a stored fingerprint must mean the same after an upgrade.
    assert digest(STATE).startswith("cf3103afa0f41a46")


@pytest.mark.parametrize(
    "change",
    [
        {"a.weight": STATE["a.weight"] + 1e-6},
        {"a.weight": STATE["a.weight"].reshape(3, 2)},
        {"b": torch.tensor(7, dtype=torch.int32)},
        {"d": torch.tensor(0)},
    ],
)
def test_digest_knows_values_shapes_dtypes_and_names(change: dict[str, torch.Tensor]) -> None:
    assert digest({**STATE, **change}) != digest(STATE)


def test_formats_have_one_digest_and_the_same_shapes(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    torch.save(STATE, tmp_path / "w.pt")
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in STATE.items()}}, tmp_path / "train.pt"
    )
    assert digest(load_file(tmp_path / "w.safetensors")) == digest(STATE)
    wanted = {name: tuple(tensor.shape) for name, tensor in STATE.items()}
    for name in ("w.safetensors", "w.pt", "old.pt", "train.pt"):
        assert read_shapes(tmp_path / name) == wanted, name


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0d9f\nsize 605143316\n"


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "bin"])
@pytest.mark.parametrize(
    "content", [b"", b"not weights\n", LFS_POINTER, b"PK\x03\x04 half a zip", b"\x80\x02}q\x00."]
)
def test_what_is_no_checkpoint_is_corrupt(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match=str(path)):
        read_shapes(path)


@pytest.mark.parametrize("value", [[1, 2], "text", {"state_dict": {}}, {"epoch": 1}])
def test_a_file_without_tensors_is_corrupt(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(WeightsCorrupt, match=r"w\.pt"):
        read_shapes(tmp_path / "w.pt")


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "hook": Path}, tmp_path / "w.pt")
    with pytest.raises(WeightsCorrupt, match="UnpicklingError"):
        read_shapes(tmp_path / "w.pt")


def test_a_missing_file_is_unavailable_not_corrupt(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(WeightsUnavailable, match="no file"):
            read_shapes(path)


def test_values_must_be_finite() -> None:
    require_finite(STATE, "w.pt")
    with pytest.raises(WeightsCorrupt, match=r"w\.pt: d holds values"):
        require_finite({**STATE, "d": torch.tensor([1.0, float("nan")])}, "w.pt")
