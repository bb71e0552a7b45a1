"""Top-k search over rows: something fast proposes in float32, `similarity` decides in float64.

An index holds every row of vectors.f16 at its own place, so it only ever grows; which rows a search may
answer with is said with the search. Nothing has to be taken out when an image is removed. `FlatIndex` is
exact, `InvertedIndex` (inverted_index.py) is for collections in which exact takes too long.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from twinlens.engine.errors import DatasetCorrupt, InvalidValue
from twinlens.engine.screen import HALF_A_MICRO, screening_error
from twinlens.engine.similarity import Mask, Numbers, Rows, Units, pairwise, spans, unit_rows

FORMAT_VERSION = 3
_SPARE = 16
_BLOCK = 2**20
_ROWS_AT_ONCE = 2048


class Index(ABC):
    """What every index owes its users.

    Attributes:
        kind: its name in the file that describes it.
        recall: of the most similar rows, the share that a search finds, as measured; 1 is exact.
    """

    kind: ClassVar[str]
    recall: float = 1.0

    def __init__(self, dim: int, fingerprint: str) -> None:
        self.dim = dim
        self.fingerprint = fingerprint

    @abstractmethod
    def __len__(self) -> int:
        """Rows that it holds."""

    @abstractmethod
    def extend(self, rows: Rows) -> None:
        """Take the rows behind those that the index holds already: float16 [n, dim], n >= len(self)."""

    def search(self, rows: Rows, query: Units, k: int, among: Mask) -> tuple[Numbers, NDArray[np.float64]]:
        """The k rows most similar to a query, most similar first, ties to the lower row.

        Args:
            rows: what the index was made from, float16 [n, dim]; decides.
            query: float64 [dim], unit length.
            k: how many; fewer come back where `among` has fewer.
            among: bool [n], the rows that may be answered.

        Returns:
            Row numbers int64 [m] and similarities float64 [m], m <= k.

        Raises:
            InvalidValue: a query of another length, or k below 1.
        """
        if query.shape != (self.dim,):
            raise InvalidValue(f"a query has {query.shape[-1]} dimensions, the index has {self.dim}")
        if k < 1:
            raise InvalidValue(f"k is {k}, and must be 1 or more")
        fetch = k + _SPARE
        while True:
            numbers, scores = self._fetch(rows, query, fetch, among)
            similarity = self._decide(rows, query, numbers)
            order = np.lexsort((numbers, -similarity))[:k]
            if len(numbers) < fetch:
                return numbers[order], similarity[order]
            # What was not fetched scores at most the last float32 score, which may be off by the bound.
            unseen = scores[-1] + 2 * (screening_error(self.dim) + HALF_A_MICRO)
            if unseen < similarity[order[-1]]:
                return numbers[order], similarity[order]
            fetch *= 4

    @abstractmethod
    def _fetch(
        self, rows: Rows, query: Units, count: int, among: Mask
    ) -> tuple[Numbers, NDArray[np.float32]]:
        """Rows with the largest float32 scores, largest first; fewer than `count` only if there are no more.

        Scores are within `screening_error` of the similarities.
        """

    def _decide(self, rows: Rows, query: Units, numbers: Numbers) -> NDArray[np.float64]:
        similarity = np.empty(len(numbers))
        for span in spans(0, len(numbers), _ROWS_AT_ONCE):
            units = unit_rows(rows[numbers[span]], numbers[span])
            similarity[span] = pairwise(units, np.broadcast_to(query, units.shape))
        return similarity

    # -- on disk ------------------------------------------------------------------------------

    @abstractmethod
    def _write(self, file: BinaryIO) -> int:
        """Write all that the index is; gives how many of the first bytes must be what was written."""

    @abstractmethod
    def _read(self, path: Path) -> None:
        """Take what `_write` wrote; the length, and the bytes that must be, are known to be unchanged.

        Raises:
            RuntimeError, ValueError: it is something else.
        """

    def save(self, path: Path) -> None:
        """Write the index and, beside it, what it is; a kill on the way leaves the old one or none."""
        beside = path.with_name(path.name + ".new")
        try:
            with open(beside, "wb") as file:
                checked = self._write(file)
                written = file.tell()
            os.replace(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        description = {
            **self._description(),
            "rows": len(self),
            "recall": self.recall,
            "bytes": written,
            "checked": checked,
            "sha256": _digest(path, checked),
        }
        _sidecar(path).write_text(json.dumps(description))

    @classmethod
    def load(cls, path: Path, dim: int, fingerprint: str) -> Self:
        """Read an index that must be of this kind and for these vectors.

        Raises:
            DatasetCorrupt: missing, damaged, or for other vectors; the message names both.
        """
        index = cls(dim, fingerprint)
        expected = index._description()
        try:
            said = json.loads(_sidecar(path).read_text())
            found = {key: said[key] for key in expected}
            rows, written, checked, digest = (said[key] for key in ("rows", "bytes", "checked", "sha256"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetCorrupt(
                f"{path} is not a search index ({error}): delete it, it is made again"
            ) from error
        if found != expected:
            raise DatasetCorrupt(
                f"{path} is for {found}, the dataset is {expected}: delete it, it is made again"
            )
        # What reads it trusts it: damaged bytes would end in wrong answers or no memory, not in an error.
        if not path.is_file() or path.stat().st_size != written or _digest(path, checked) != digest:
            raise DatasetCorrupt(f"{path} is not what was written: delete it, it is made again")
        try:
            index._read(path)
        except (RuntimeError, ValueError) as error:
            raise DatasetCorrupt(f"{path} cannot be read: delete it, it is made again") from error
        if len(index) != rows:
            raise DatasetCorrupt(f"{path} is not the index that was described: delete it, it is made again")
        return index

    def _description(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "kind": self.kind,
            "dim": self.dim,
            "fingerprint": self.fingerprint,
        }


class FlatIndex(Index):
    """Exact search by inner product over unit rows (faiss.IndexFlatIP)."""

    kind = "flat"

    def __init__(self, dim: int, fingerprint: str) -> None:
        super().__init__(dim, fingerprint)
        self._faiss = faiss.IndexFlatIP(dim)

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    def extend(self, rows: Rows) -> None:
        """Take the rows behind those that the index holds already."""
        for span in spans(len(self), len(rows), _ROWS_AT_ONCE):
            numbers = np.arange(span.start, span.stop)
            self._faiss.add(unit_rows(rows[span], numbers).astype(np.float32))

    def _fetch(
        self, rows: Rows, query: Units, count: int, among: Mask
    ) -> tuple[Numbers, NDArray[np.float32]]:
        bits = np.packbits(among, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(among), faiss.swig_ptr(bits))
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        available = min(count, int(np.count_nonzero(among)))
        if available == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores, numbers = self._faiss.search(query[None].astype(np.float32), available, params=parameters)
        return numbers[0].astype(np.int64), scores[0]

    def _write(self, file: BinaryIO) -> int:
        # Through Python's file: FAISS's own would report a full disk as a RuntimeError.
        faiss.write_index(self._faiss, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
        return file.tell()

    def _read(self, path: Path) -> None:
        read = faiss.read_index(str(path))
        if not isinstance(read, faiss.IndexFlatIP) or read.d != self.dim:
            raise ValueError(f"{path} is another index")
        self._faiss = read


def stated_recall(path: Path) -> float | None:
    """The measured recall of the index that was saved, None where there is none."""
    try:
        return float(json.loads(_sidecar(path).read_text())["recall"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(path: Path, length: int) -> str:
    """Of the first bytes of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while length > 0 and (block := file.read(min(length, _BLOCK))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
