"""Drawn hard negatives: pages of one document, and pictures in one template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from PIL import Image, ImageDraw, ImageFont, ImageOps

DOCUMENTS, PAGES = 8, 5
PAGE = (480, 640)
SYLLABLES = tuple(
    "ka lo mi tern ver an sol ri de pu gan est ol ti bra ne fu scha win mo la ex por ta".split()  # noqa: SIM905
)
CARD = (600, 560)


def words(count: int, chance: Random) -> Iterator[str]:
    """Words of no language."""
    for _ in range(count):
        yield "".join(chance.choices(SYLLABLES, k=chance.randint(1, 4)))


def documents(seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Pages with their names; the pages of one document share letterhead, type and columns."""
    for document in range(DOCUMENTS):
        for page in range(PAGES):
            style = Random(f"{seed} document {document}")
            yield f"drawn/document-{document}/{page}", _page(style, Random(f"{seed} {document} {page}"), page)


def _page(style: Random, chance: Random, number: int) -> Image.Image:
    paper = style.choice(((255, 255, 255), (250, 246, 235), (240, 244, 250)))
    ink = style.choice(((0, 0, 0), (40, 40, 60), (70, 30, 20)))
    size, columns, heads = style.uniform(9, 15), style.choice((1, 1, 2)), style.choice((True, False))
    page = Image.new("RGB", PAGE, paper)
    pen = ImageDraw.Draw(page)
    accent = (style.randrange(200), style.randrange(200), style.randrange(200))
    pen.rectangle((30, 24, 30 + style.randint(40, 160), 44), fill=accent)
    pen.text((PAGE[0] - 30, 34), " ".join(words(3, style)), ink, ImageFont.load_default(11), anchor="rm")
    pen.text((PAGE[0] / 2, PAGE[1] - 18), str(number + 1), ink, ImageFont.load_default(10), anchor="mm")
    font, bold = ImageFont.load_default(size), ImageFont.load_default(size * 1.6)
    width = (PAGE[0] - 60 - 20 * (columns - 1)) / columns
    for column in range(columns):
        left, y = 30 + column * (width + 20), 64.0
        while y < PAGE[1] - 50:
            if heads and chance.random() < 0.06:
                pen.text((left, y), " ".join(words(3, chance)).title()[: int(width / size)], ink, bold)
                y += size * 2.4
            elif chance.random() < 0.03 and y < PAGE[1] - 190:
                _figure(pen, (left, y, left + width, y + 110), accent, chance)
                y += 124
            else:
                y = _paragraph(pen, (left, y), width, font, size, ink, chance)
    return page


def _paragraph(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    width: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: float,
    ink: tuple[int, int, int],
    chance: Random,
) -> float:
    left, y = place
    for _ in range(chance.randint(2, 7)):
        if y > PAGE[1] - 50:
            break
        line = ""
        for word in words(40, chance):
            if pen.textlength(f"{line} {word}", font) > width:
                break
            line = f"{line} {word}".strip()
        pen.text((left, y), line, ink, font)
        y += size * 1.4
    return y + size * 0.8


def _figure(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    chance: Random,
) -> None:
    left, top, right, bottom = box
    pen.rectangle(box, outline=colour)
    step = (right - left) / 8
    for bar in range(8):
        height = chance.uniform(0.1, 0.9) * (bottom - top)
        pen.rectangle(
            (left + (bar + 0.2) * step, bottom - height, left + (bar + 0.8) * step, bottom), fill=colour
        )


def templates(pictures: Sequence[Sequence[Image.Image]], seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Each row of pictures in a template of its own, with names: the same card around different pictures."""
    for number, row in enumerate(pictures):
        for place, picture in enumerate(row):
            style, chance = Random(f"{seed} template {number}"), Random(f"{seed} {number} {place} words")
            yield f"drawn/template-{number}/{place}", _card(style, chance, picture)


def _card(style: Random, chance: Random, picture: Image.Image) -> Image.Image:
    paper = (style.randrange(256), style.randrange(256), style.randrange(256))
    ink = (0, 0, 0) if sum(paper) > 380 else (255, 255, 255)
    card = Image.new("RGB", CARD, paper)
    pen = ImageDraw.Draw(card)
    accent = (style.randrange(256), style.randrange(256), style.randrange(256))
    pen.rectangle((0, 0, CARD[0], style.randint(40, 90)), fill=accent)
    title = " ".join(words(2, style)).upper()
    pen.text((20, 20), title, ink, ImageFont.load_default(style.randint(20, 32)))
    box = (style.randint(260, 420), style.randint(240, 330))
    left, top = style.randint(15, CARD[0] - box[0] - 15), style.randint(95, 120)
    card.paste(ImageOps.fit(picture, box, Image.Resampling.BICUBIC), (left, top))
    pen.rectangle((left, top, left + box[0], top + box[1]), outline=accent, width=style.randint(2, 8))
    text = " ".join(words(5, chance))
    pen.text((20, top + box[1] + 18), text, ink, ImageFont.load_default(20))
    pen.rectangle((20, CARD[1] - 70, 20 + style.randint(60, 240), CARD[1] - 25), fill=accent)
    pen.text(
        (CARD[0] - 20, CARD[1] - 45), " ".join(words(2, style)), ink, ImageFont.load_default(16), anchor="rm"
    )
    return card
