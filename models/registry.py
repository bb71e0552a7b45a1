"""Names of models, and which one `auto` stands for here. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from twinlens.engine.errors import WeightsUnavailable
from twinlens.engine.types import Embedder, OperatingPoints
from twinlens.models import points

EMBEDDED, FAST, PLAIN = "twinlens_copy512", "twinlens_fast512", "efficientnet_lite0"
CLIP_ARCHITECTURE, CLIP_TAG = "ViT-B-32", "laion2b_s34b_b79k"
CLIP_REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
"""Where open_clip finds that tag: told here, since asking open_clip costs seconds and 200 MB."""
ALIASES = {"clip": f"{CLIP_ARCHITECTURE}/{CLIP_TAG}"}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One line of a list of models.

    Attributes:
        name: what `load_model` takes; words in capitals stand for the user's own.
        summary: what it is.
        text_capable: True if it embeds texts as well.
        points: its thresholds, where it has measured ones.
    """

    name: str
    summary: str
    text_capable: bool
    points: OperatingPoints | None = None


KNOWN_MODELS = (
    KnownModel("auto", f"clip where its weights can be had, else {EMBEDDED}", text_capable=False),
    KnownModel("clip", f"the default CLIP model, {ALIASES['clip']} (MIT)", text_capable=True),
    KnownModel(
        EMBEDDED,
        "finds edited copies, installed with TwinLens, no download (Apache-2.0)",
        text_capable=False,
        points=points.COPY_DESCRIPTOR,
    ),
    KnownModel(
        FAST,
        "the same network on smaller pictures: faster, and finds somewhat less",
        text_capable=False,
        points=points.FAST_DESCRIPTOR,
    ),
    KnownModel(
        PLAIN,
        "plain ImageNet features, installed with TwinLens, no download (Apache-2.0)",
        text_capable=False,
        points=points.EFFICIENTNET,
    ),
    KnownModel(
        "ARCH/TAG", "any architecture and tag of open_clip, for example ViT-L-14/openai", text_capable=True
    ),
    KnownModel("ARCH@FILE", "any architecture of open_clip with a checkpoint of yours", text_capable=True),
    KnownModel("hf-hub:ORGANISATION/NAME", "an open_clip repository of the hub", text_capable=True),
    KnownModel(
        "local-dir:FOLDER",
        "such a repository as a folder: open_clip_config.json and weights",
        text_capable=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What `auto` stands for on this machine.

    Attributes:
        name: a concrete name for `load_model`.
        notice: one line for the user if it is not CLIP: why, and how to get CLIP.
    """

    name: str
    notice: str | None = None


def load_model(name: str = "auto", *, device: str = "auto", precision: str = "auto") -> Embedder:
    """Load an embedder.

    `load_model(embedder.description.name)` gives the same model again.

    Args:
        name: one of `KNOWN_MODELS`.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        precision: "auto", "float32", "bfloat16", "float16", or for the trained embedded models "int8".

    Raises:
        UnknownModel: no such name.
        WeightsUnavailable: neither on disk nor to be downloaded; told within seconds.
        WeightsCorrupt: on disk, but not the weights of this model.
        DeviceUnavailable: no such device on this machine.
        InvalidValue: unknown device or precision.
    """
    if name == "auto":
        resolution = resolve_auto()
        name = resolution.name
        if resolution.notice:
            logging.getLogger(__name__).warning(resolution.notice)
    if name == PLAIN:
        from twinlens.models import efficientnet

        return efficientnet.load(device=device, precision=precision)
    if name in (EMBEDDED, FAST):
        from twinlens.models import copy_descriptor

        return copy_descriptor.load(device=device, precision=precision, name=name)
    from twinlens.models import clip

    return clip.load(ALIASES.get(name, name), device=device, precision=precision)


def resolve_auto() -> Resolution:
    """Decide what `auto` stands for; nothing is downloaded or loaded.

    CLIP if its weights are on disk or the hub offers them within seconds, else the embedded model.
    """
    from twinlens.models import hub

    if hub.find_cached(CLIP_REPOSITORY, hub.OPEN_CLIP_WEIGHTS):
        return Resolution(ALIASES["clip"])
    try:
        hub.find_published(CLIP_REPOSITORY, hub.OPEN_CLIP_WEIGHTS)
    except WeightsUnavailable as error:
        return Resolution(EMBEDDED, _how_to_get_clip(str(error)))
    return Resolution(ALIASES["clip"])


def _how_to_get_clip(reason: str) -> str:
    return (
        f"using {EMBEDDED} (images only): the weights of CLIP are not on this machine and {reason}. "
        f"For CLIP, run once with the hub in reach, or bring a checkpoint as --model {CLIP_ARCHITECTURE}@FILE"
    )
