"""Embedders behind one small interface; the only folder that touches model weights."""
