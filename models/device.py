"""Where a model runs and what it computes in: the one place that decides."""

from __future__ import annotations

from typing import Any

import torch

from twinlens.engine.errors import DeviceUnavailable, InvalidValue

INT8 = "int8"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: str) -> str:
    """Turn "auto", "cpu" or "cuda" into "cpu" or "cuda".

    Raises:
        InvalidValue: another word.
        DeviceUnavailable: "cuda" where there is none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise InvalidValue(f"device {wanted!r} is none of auto, cpu, cuda")
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise DeviceUnavailable(
            "device cuda was asked for, but this machine has no CUDA device: use cpu or auto"
        )
    return "cuda" if has_cuda and wanted != "cpu" else "cpu"


def choose_precision(wanted: str, device: str, *, quantised: bool = False) -> str:
    """Turn "auto", "float32", "bfloat16", "float16" or "int8" into one of the last four.

    float16 on CUDA, since it keeps three more bits than bfloat16 of values that are small anyway; on a CPU
    what it has instructions for, int8 before bfloat16, else float32.

    Args:
        wanted: one of these words.
        device: "cpu" or "cuda".
        quantised: the model can be run in int8, on a CPU.

    Raises:
        InvalidValue: another word, or int8 where model or machine cannot.
    """
    if wanted in DTYPES:
        return wanted
    has_int8 = quantised and device == "cpu" and cpu_computes_int8()
    if wanted == INT8 and not has_int8:
        raise InvalidValue(
            "precision int8 is for the trained embedded models on a CPU with AVX512-VNNI: use auto"
        )
    if wanted not in ("auto", INT8):
        raise InvalidValue(f"precision {wanted!r} is none of auto, {', '.join(DTYPES)}, {INT8}")
    if device == "cuda":
        return "float16"
    if has_int8:
        return INT8
    return "bfloat16" if cpu_computes_bfloat16() else "float32"


def cpu_computes_int8() -> bool:
    """True if this CPU sums products of int8 without saturating (AVX512-VNNI), and this torch asks it to."""
    has_onednn: Any = torch.backends.mkldnn.is_available
    has_vnni: Any = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return bool(has_onednn() and has_vnni() and hasattr(torch.ops.onednn, "qconv2d_pointwise"))


def cpu_computes_bfloat16() -> bool:
    """True if this CPU multiplies bfloat16 natively (AVX512-BF16 or AMX)."""
    # torch has no public question for this; a version without these counts as a CPU without them.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, lambda: False)() for question in questions)
