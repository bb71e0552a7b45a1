"""Parts of an image that are searched for."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.engine.box import Box
from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.values import strict_json, unfit

_NAMES = ("x", "y", "width", "height")
_TAKES = '{"x":0.1,"y":0.2,"width":0.5,"height":0.6}, fractions of the image, or X,Y,WIDTH,HEIGHT in pixels'
_EDGE = 1e-6
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class AskedBox:
    """A box as a client gives it.

    Attributes:
        left, top, width, height: in fractions of the image, or in pixels of it.
        pixels: which of the two.
    """

    left: float
    top: float
    width: float
    height: float
    pixels: bool

    def on(self, width: int, height: int) -> Box:
        """The box on an upright image of this size, px.

        Raises:
            InvalidValue: it lies outside.
        """
        if not self.pixels:
            return Box(self.left, self.top, self.width, self.height)
        if self.left >= width or self.top >= height:
            raise InvalidValue(
                f"bounding_box begins at {self.left:g},{self.top:g}, "
                f"outside the image of {width}x{height} pixels"
            )
        # What reaches beyond the image ends with it: clients round up.
        right, bottom = min(self.left + self.width, width), min(self.top + self.height, height)
        return Box(
            self.left / width, self.top / height, (right - self.left) / width, (bottom - self.top) / height
        )


def parse_box(text: str) -> AskedBox:
    """A box, as JSON in fractions, or in the older form in pixels.

    Raises:
        InvalidValue: another form, nothing in it, or fractions outside the image.
    """
    if text.lstrip().startswith("{"):
        return _in_fractions(text)
    parts = [part.strip() for part in text.split(",")]
    digits = all(part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS for part in parts)
    if len(parts) != len(_NAMES) or not digits:
        raise unfit("bounding_box", _TAKES, text)
    left, top, width, height = map(float, parts)
    if not (width and height):
        raise unfit("bounding_box", _TAKES, text)
    return AskedBox(left, top, width, height, pixels=True)


def _in_fractions(text: str) -> AskedBox:
    held = strict_json("bounding_box", text)
    numbers = list(held.values()) if isinstance(held, dict) and set(held) == set(_NAMES) else []
    if not numbers or any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        raise unfit("bounding_box", _TAKES, text)
    left, top, width, height = (float(held[name]) for name in _NAMES)
    inside = left >= 0 and top >= 0 and left + width <= 1 + _EDGE and top + height <= 1 + _EDGE
    if not (inside and width > 0 and height > 0):
        raise unfit("bounding_box", _TAKES, text)
    return AskedBox(left, top, width, height, pixels=False)
