"""From the name of a CLIP model to files on disk, so that open_clip never asks the network itself.

Four forms of name:

- `ARCH/TAG`, an architecture and a tag of open_clip: `ViT-B-32/laion2b_s34b_b79k`;
- `ARCH@FILE`, an architecture of open_clip and a checkpoint: `ViT-B-32@/weights/mine.pt`;
- `hf-hub:ORGANISATION/NAME`, a repository with its own `open_clip_config.json`;
- `local-dir:FOLDER`, a folder with the same, brought from anywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg

from twinlens.engine.errors import UnknownModel, WeightsUnavailable
from twinlens.models import hub
from twinlens.models.registry import EMBEDDED, FAST, PLAIN

CONFIG = "open_clip_config.json"
FOLDER_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""What `local-dir:` looks for, in open_clip's order of preference."""


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """What open_clip is called with.

    Attributes:
        name: the canonical name; loading it again gives the same model.
        model_name: open_clip's `model_name`: an architecture or `local-dir:FOLDER`.
        checkpoint: the weights.
        tag: open_clip's tag, None where the weights come without one.
        overrides: keyword arguments that the tag prescribes (mean, std, interpolation, activation).
    """

    name: str
    model_name: str
    checkpoint: Path
    tag: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def brings_config(self) -> bool:
        """True if architecture and preprocessing come with the weights."""
        return self.model_name.startswith("local-dir:")


def locate(name: str) -> ClipFiles:
    """Find the files of a model, downloading what can be downloaded.

    Raises:
        UnknownModel: no such architecture or tag, or a form that is none of the four.
        WeightsUnavailable: neither on disk nor to be downloaded.
    """
    if name.startswith("local-dir:"):
        return _in_folder(Path(name.removeprefix("local-dir:")))
    if name.startswith("hf-hub:"):
        return _in_repository(name.removeprefix("hf-hub:"))
    architecture, at, file = name.partition("@")
    if at:
        return _in_file(architecture, Path(file))
    architecture, _, tag = name.rpartition("/")
    return _tagged(architecture or tag, tag if architecture else "")


def find_repository(architecture: str, tag: str) -> tuple[str, Sequence[str]]:
    """Hub repository of a tag, and the names its weights may have there, best first.

    Raises:
        UnknownModel: no such architecture or tag.
        WeightsUnavailable: the tag is published outside the hub.
    """
    _require_architecture(architecture)
    if not open_clip.is_pretrained_cfg(architecture, tag):
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        asked = f"has no tag {tag!r}" if tag else "needs weights"
        raise UnknownModel(
            f"{architecture} {asked}: use {architecture}/TAG with one of "
            f"{', '.join(tags) or 'no tags'}, or {architecture}@FILE"
        )
    published: str = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "")
    if not published:
        url = open_clip.get_pretrained_url(architecture, tag)
        raise WeightsUnavailable(
            f"{architecture}/{tag} is not on the hub: download {url}, use {architecture}@FILE"
        )
    repository, _, filename = published.rpartition("/")
    return repository, _alternatives(filename)


def _alternatives(filename: str) -> Sequence[str]:
    if not filename:
        return hub.OPEN_CLIP_WEIGHTS
    return (str(Path(filename).with_suffix(".safetensors")), filename)


def _tagged(architecture: str, tag: str) -> ClipFiles:
    repository, filenames = find_repository(architecture, tag)
    tag = tag.lower().replace("-", "_")
    name = f"{architecture}/{tag}"
    overrides = _overrides(open_clip.get_pretrained_cfg(architecture, tag))
    try:
        checkpoint = hub.fetch(repository, filenames)
    except WeightsUnavailable as error:
        # ARCH@FILE knows no more than the architecture.
        alone = "" if overrides else f"`--model {architecture}@FILE` for the file alone"
        raise _with_advice(name, repository, filenames, error, alone) from error
    return ClipFiles(name, architecture, checkpoint, tag, overrides)


def _overrides(config: dict[str, Any]) -> dict[str, Any]:
    """What a tag prescribes beyond open_clip's defaults, as arguments of `create_model_from_pretrained`."""
    defaults = asdict(PreprocessCfg())
    keys = ("mean", "std", "interpolation", "resize_mode")
    overrides = {
        f"image_{key}": config[key] for key in keys if config.get(key, defaults[key]) != defaults[key]
    }
    # open_clip only warns when a tag was trained with another activation than its architecture has.
    return overrides | ({"force_quick_gelu": True} if config.get("quick_gelu") else {})


def _in_repository(repository: str) -> ClipFiles:
    name = f"hf-hub:{repository}"
    try:
        checkpoint = hub.fetch(repository, hub.OPEN_CLIP_WEIGHTS)
        if not (checkpoint.parent / CONFIG).is_file():
            hub.fetch(repository, (CONFIG,), revision=checkpoint.parent.name)
    except WeightsUnavailable as error:
        raise _with_advice(name, repository, hub.OPEN_CLIP_WEIGHTS, error) from error
    return ClipFiles(name, f"local-dir:{checkpoint.parent}", checkpoint)


def _in_folder(folder: Path) -> ClipFiles:
    folder = folder.expanduser().absolute()
    if not (folder / CONFIG).is_file():
        raise WeightsUnavailable(f"{folder} holds no {CONFIG}: local-dir: needs it beside the weights")
    found = [path for suffix in ("safetensors", "bin", "pth") for path in sorted(folder.glob(f"*.{suffix}"))]
    preferred = [folder / name for name in FOLDER_WEIGHTS if folder / name in found]
    if not found:
        raise WeightsUnavailable(f"{folder} holds no weights: none of *.safetensors, *.bin, *.pth")
    name = f"local-dir:{folder}"
    return ClipFiles(name, name, (preferred or found)[0])


def _in_file(architecture: str, path: Path) -> ClipFiles:
    _require_architecture(architecture)
    path = path.expanduser().absolute()
    return ClipFiles(f"{architecture}@{path}", architecture, path)


def _require_architecture(architecture: str) -> None:
    architectures = open_clip.list_models()
    if architecture not in architectures:
        known = [*architectures, "clip", EMBEDDED, FAST, PLAIN]
        close = difflib.get_close_matches(architecture, known, n=5, cutoff=0.4)
        raise UnknownModel(
            f"no model or open_clip architecture is named {architecture!r}"
            + (f": did you mean {', '.join(close)}?" if close else ": `twinlens models` lists what there is")
        )


def _with_advice(
    name: str, repository: str, filenames: Sequence[str], error: WeightsUnavailable, alone: str = ""
) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"the weights of {name} are not on this machine: {error}. On a machine that reaches the hub, "
        f"download {filenames[0]} and {CONFIG} from {hub.page(repository)} into a folder, bring it here and "
        f"use `--model local-dir:FOLDER`{f', or {alone}' if alone else ''}; or use "
        f"`--model {EMBEDDED}`, which needs no download"
    )
