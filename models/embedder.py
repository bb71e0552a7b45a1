"""What every torch embedder shares: batches of uint8 pixels in, unit rows out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch

from twinlens.engine.types import Embedder, Embeddings, ModelDescription, Prepared
from twinlens.models.device import DTYPES

_ALL_THREADS = torch.get_num_threads()
"""Read before anybody changes it: a thread that begins later has what another one was told."""

_Result = TypeVar("_Result")


class TorchEmbedder(Embedder):
    """An embedder whose `prepare` gives uint8 [side, side, 3] and whose module maps pixels to features.

    Pixels stay uint8 until they are on the device: a quarter of the memory and of the copy. Whoever calls,
    one thread of the embedder's own talks to a GPU: libraries keep handles and chosen kernels for each
    thread, and a thread's first call takes a second.
    """

    def __init__(self, description: ModelDescription, device: str, precision: str) -> None:
        self._description = description
        self._device = device
        self._precision = precision
        self._caller = ThreadPoolExecutor(1, "twinlens-device") if device != "cpu" else None

    @property
    def description(self) -> ModelDescription:
        """What the model is."""
        return self._description

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        return self._device

    @property
    def precision(self) -> str:
        """What it computes in: "float32", "bfloat16", "float16" or "int8"."""
        return self._precision

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights that are not quantised."""
        return DTYPES.get(self._precision, torch.float32)

    def use_one_core(self) -> None:
        """Run torch's kernels on the calling thread alone (its thread count is one of each thread)."""
        torch.set_num_threads(1)

    def use_all_cores(self) -> None:
        """Run torch's kernels on as many threads as torch takes unless told otherwise."""
        torch.set_num_threads(_ALL_THREADS)

    @abstractmethod
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features [n, dim] of any float dtype, not normalised, of uint8 [n, 3, side, side]."""

    def embed_prepared(self, batch: Sequence[Prepared]) -> Embeddings:
        """Vectors of a batch, float32 [n, dim], unit length, in order.

        A row that is not finite comes back as it is: the precision is too narrow for that image, and
        whoever knows the image names it.

        Raises:
            MemoryError: the device has no room for so many.
        """
        if not batch:
            return np.zeros((0, self.description.dim), np.float32)
        stacked = torch.from_numpy(np.stack(batch))
        try:
            return self.call(lambda: self._embedded(stacked))
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"{len(batch)} images at once do not fit into the memory of {self.device}"
            ) from error

    def call(self, work: Callable[[], _Result]) -> _Result:
        """What `work` gives, without gradients, on the thread for this device and with repeatable kernels."""
        if self._caller is None:
            return _inferred(work)
        return self._caller.submit(_inferred, work).result()

    def _embedded(self, pixels: torch.Tensor) -> Embeddings:
        return self.unit_rows(self.features(self._on_device(pixels).permute(0, 3, 1, 2)))

    def _on_device(self, pixels: torch.Tensor) -> torch.Tensor:
        """Without waiting where there is CUDA: from pinned memory, a copy runs beside what others compute."""
        if self.device == "cpu":
            return pixels
        return pixels.pin_memory().to(self.device, non_blocking=True)

    def unit_rows(self, features: torch.Tensor) -> Embeddings:
        """Features [n, dim] divided by their lengths in float32."""
        rows: Embeddings = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
        return rows


def _inferred(work: Callable[[], _Result]) -> _Result:
    with torch.inference_mode(), exact_kernels():
        return work()


def exact_kernels() -> AbstractContextManager[None]:
    """A context in which convolutions on CUDA are repeatable and float32 means float32, not TF32."""
    flags: Callable[..., AbstractContextManager[None]] = torch.backends.cudnn.flags
    return flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
