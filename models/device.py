"""Where a model runs and what it computes in: the one place that decides."""

from __future__ import annotations

import torch

from twinlens.engine.errors import DeviceUnavailable, InvalidValue

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


def choose_precision(wanted: str, device: str) -> str:
    """Turn "auto", "float32", "bfloat16" or "float16" into one of the last three.

    float16 on CUDA, since it keeps three more bits than bfloat16 of values that are small anyway;
    on a CPU bfloat16 where it has instructions for it, else float32.

    Raises:
        InvalidValue: another word.
    """
    if wanted in DTYPES:
        return wanted
    if wanted != "auto":
        raise InvalidValue(f"precision {wanted!r} is none of auto, {', '.join(DTYPES)}")
    if device == "cuda":
        return "float16"
    return "bfloat16" if cpu_computes_bfloat16() else "float32"


def cpu_computes_bfloat16() -> bool:
    """True if this CPU multiplies bfloat16 natively (AVX512-BF16 or AMX)."""
    # torch has no public question for this; a version without these counts as a CPU without them.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, lambda: False)() for question in questions)
