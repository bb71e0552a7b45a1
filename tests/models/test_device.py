"""`auto` means the best this machine has; a device that is not there is an error, never a fallback."""

from __future__ import annotations

import pytest
import torch

from twinlens.engine.errors import DeviceUnavailable, InvalidValue
from twinlens.models.device import choose_device, choose_precision, cpu_computes_bfloat16

HAS_CUDA = torch.cuda.is_available()


def test_auto_takes_cuda_where_there_is_one() -> None:
    assert choose_device("auto") == ("cuda" if HAS_CUDA else "cpu")
    assert choose_device("cpu") == "cpu"


@pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA")
def test_cuda_is_not_replaced_in_silence() -> None:
    with pytest.raises(DeviceUnavailable, match="no CUDA device"):
        choose_device("cuda")


@pytest.mark.parametrize("word", ["gpu", "cuda:1", "", "CPU"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(InvalidValue, match="none of auto, cpu, cuda"):
        choose_device(word)


def test_precision_is_ours_to_choose_and_the_users_to_override() -> None:
    assert choose_precision("auto", "cuda") == "float16"
    assert choose_precision("auto", "cpu") == ("bfloat16" if cpu_computes_bfloat16() else "float32")
    assert choose_precision("float32", "cuda") == "float32"
    with pytest.raises(InvalidValue, match="none of auto, float32"):
        choose_precision("int4", "cpu")


def test_a_cpu_without_the_instructions_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert choose_precision("auto", "cpu") == "float32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert choose_precision("auto", "cpu") == "bfloat16"
