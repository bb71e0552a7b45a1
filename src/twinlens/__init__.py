"""TwinLens finds twins in image collections.

The public names are loaded when first used, so that `import twinlens` stays fast and whoever needs
hashing alone never pays for the models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.decode import decode
    from twinlens.engine.errors import TwinLensError
    from twinlens.engine.hashing import image_hashes
    from twinlens.models import load_model
    from twinlens.service.wiring import create_dataset, open_dataset

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "TwinLensError",
    "create_dataset",
    "decode",
    "image_hashes",
    "load_model",
    "open_dataset",
]

_HOMES = {
    "Dataset": "twinlens.engine.dataset",
    "TwinLensError": "twinlens.engine.errors",
    "create_dataset": "twinlens.service.wiring",
    "decode": "twinlens.engine.decode",
    "image_hashes": "twinlens.engine.hashing",
    "load_model": "twinlens.models",
    "open_dataset": "twinlens.service.wiring",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'twinlens' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
