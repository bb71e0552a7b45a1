"""The nouns that cross module borders, and the Embedder interface. No maths, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Rgb: TypeAlias = NDArray[np.uint8]
"""One decoded image: uint8 [height, width, 3], upright, alpha dropped."""

Prepared: TypeAlias = NDArray[Any]
"""One image as a model wants it: shape and dtype are the model's, the same for every image."""

Embeddings: TypeAlias = NDArray[np.float32]
"""float32 [n, dim], rows of unit length."""

Preparation: TypeAlias = Callable[[Rgb], NDArray[np.uint8]]
"""Makes of an image what a model wants. It is small and needs no torch: any process can be given it."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What is searched for.

    Attributes:
        vector: float64 [dim], unit length; None for a flat image, which is like its identical twins only.
        digest, pixel_digest: what makes an image of the dataset identical; None where unknown.
    """

    vector: NDArray[np.float64] | None
    digest: bytes | None = None
    pixel_digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class DecodePolicy:
    """How far a JPEG may be reduced while it is decoded.

    Attributes:
        min_side: both sides of the decoded image stay at or above this many pixels (unless the
            file itself is smaller); None decodes in full.
    """

    min_side: int | None = None


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """Three similarity thresholds in [0, 1] of one model.

    Attributes:
        strict: near-identical.
        default: clearly the same picture, edited.
        loose: worth a look.
        measured: False means uncalibrated: a guess until measured on labelled pairs.
        precision: at strict, default and loose, where it was measured: the share of the pairs of an
            edited copy and another image that are a copy and its original.
        recall: likewise: the share of the copies whose original is found.
    """

    strict: float
    default: float
    loose: float
    measured: bool
    precision: tuple[float, float, float] | None = None
    recall: tuple[float, float, float] | None = None

    @property
    def thresholds(self) -> dict[str, float]:
        """The three, by name, the highest first."""
        return {"strict": self.strict, "default": self.default, "loose": self.loose}


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a model is, as data that travels with its vectors.

    Attributes:
        name: what `--model` takes.
        revision: which weights of that name.
        dim: length of a vector.
        preprocess: the model's preprocessing as canonical JSON.
        decode: how images are decoded for it, stored ones and queries alike.
        licence: of the weights.
        text_capable: True if it embeds texts into the same space.
        isolation: b of the uniqueness formula: the nearest-neighbour similarity that only the most
            isolated 5 % of a diverse collection stay below. None where unmeasured.
        points: its thresholds.
        floor: pairs at or above this similarity are kept in the catalog.
        weights_digest: SHA-256 of the weights, hexadecimal.
    """

    name: str
    revision: str
    dim: int
    preprocess: str
    decode: DecodePolicy
    licence: str
    text_capable: bool
    isolation: float | None
    points: OperatingPoints
    floor: float
    weights_digest: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that a vector depends on, hexadecimal; thresholds are not part of it."""
        vectors_depend_on = (self.name, self.revision, self.dim, self.preprocess)
        parts = [*vectors_depend_on, self.decode.min_side, self.weights_digest]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """The description as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelDescription:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["decode"] = DecodePolicy(**fields["decode"])
        points = fields["points"]
        for share in ("precision", "recall"):
            if points.get(share) is not None:
                points[share] = tuple(points[share])
        fields["points"] = OperatingPoints(**points)
        return cls(**fields)


@runtime_checkable
class Embedder(Protocol):
    """Images in, unit vectors out.

    A subclass writes `description`, `device`, `precision`, `prepare` and `embed_prepared`;
    `embed_images` is derived. All may be called from several threads at once.
    """

    @property
    def description(self) -> ModelDescription:
        """What the model is."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: "float32", "bfloat16" or "float16"."""
        ...

    def prepare(self, image: Rgb) -> Prepared:
        """One image as the model wants it. Runs on any thread, touches no device."""
        ...

    def embed_prepared(self, batch: Sequence[Prepared]) -> Embeddings:
        """Vectors of a batch, float32 [n, dim], unit length, in order. The only device code.

        Raises:
            MemoryError: the device has no room for so many.
        """
        ...

    @property
    def preparation(self) -> Preparation | None:
        """What `prepare` does, where it needs no torch."""
        return None

    @property
    def cpu_call(self) -> int:
        """How many images a CPU takes best in one call: as many as its caches hold the maps of."""
        return 16

    def use_one_core(self) -> None:
        """Keep what the calling thread does from now on to one core, where the model can tell.

        Called once by each thread of a pool that has a thread for every core.
        """
        return None

    def use_all_cores(self) -> None:
        """Let what the calling thread does from now on have all cores again, where the model can tell."""
        return None

    def embed_images(self, images: Sequence[Rgb]) -> Embeddings:
        """Vectors of decoded images, float32 [n, dim], unit length, in order."""
        return self.embed_prepared([self.prepare(image) for image in images])


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder whose space holds texts as well."""

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Vectors of texts, float32 [n, dim], unit length, in order."""
        ...


class ModelLoader(Protocol):
    """Turns a model name into an embedder; `twinlens.models.load_model` is one."""

    def __call__(self, name: str) -> Embedder:
        """Load the model.

        Raises:
            ModelError: unknown name, missing or corrupt weights, missing device.
        """
        ...
