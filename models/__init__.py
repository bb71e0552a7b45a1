"""Embedders behind one small interface; the only folder that touches model weights."""

from twinlens.models.registry import KNOWN_MODELS, KnownModel, Resolution, load_model, resolve_auto

__all__ = ["KNOWN_MODELS", "KnownModel", "Resolution", "load_model", "resolve_auto"]
