"""TwinLens finds twins in image collections."""

__version__ = "0.1.0"
