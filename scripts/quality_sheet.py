"""A sheet of wrong pairs to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from scripts.quality_measure import WrongPair

CELL = 110
ACROSS = 5
LINE = 26


def save_sheet(folder: Path, pairs: Sequence[WrongPair], target: Path) -> None:
    """Pairs side by side with their similarity and edit, the most similar first, as one JPEG.

    Args:
        folder: what the files of the pairs lie in.
        pairs: at most some hundreds.
        target: the file to write.
    """
    rows = -(-len(pairs) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * (2 * CELL + 12), max(1, rows) * (CELL + LINE + 6)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for number, pair in enumerate(pairs):
        left = number % ACROSS * (2 * CELL + 12)
        top = number // ACROSS * (CELL + LINE + 6)
        for place, file in enumerate((pair.copy, pair.other)):
            with Image.open(folder / file) as image:
                shown = ImageOps.contain(image.convert("RGB"), (CELL, CELL))
            sheet.paste(shown, (left + place * (CELL + 2), top))
        colour = "firebrick" if pair.hard_negative else "black"
        pen.text((left, top + CELL + 1), f"{number + 1}  {pair.similarity:.3f}  {pair.family}", colour, font)
        pen.text((left, top + CELL + 13), pair.source[-38:], "grey", font)
    sheet.save(target, "JPEG", quality=85)
