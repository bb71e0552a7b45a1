"""Measure from where on a picture counts as blurred, dark or bright, and what that finds.

    python scripts/measure_issues.py FOLDER... [--out docs/issues.md]

Originals are scikit-image's photographs and what the folders hold, one picture of each family, as in
measure_ranges.py. Each is edited in seeded ways and measured in full, as a PNG would be; a limit is the
farthest at which at most 2 % of the untouched originals are flagged. The limits that engine/issues.py holds
come from here: where they differ, the script says so and fails.

The folders of docs/issues.md are the Debian packages that it names, unpacked (`dpkg-deb -x`) into folders of
their names. Which of their pictures are drawn, and which were blurred when they were taken, was found by eye.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import uniform_filter1d

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.measure_points import family
from scripts.measure_ranges import (
    CUT_OUTS,
    LARGEST_SIDE,
    PHOTOGRAPHS,
    kind_of,
    noisy,
    originals,
    percent,
    row,
)
from twinlens import __version__
from twinlens.engine import issues
from twinlens.engine.pipeline import ordered_map
from twinlens.engine.quality import is_low_information, measure

FLAGGED_SHARE = 0.02
THUMBNAIL = 128
WHITE = 250
PAGES = 20
DRAWINGS, BLURRED = "Drawings", "Blurred photographs"

DRAWN = """
    adwaita Altai aloeGT Autumn Canopee Cascade Cluster Elarun Flow gradient grid Honeywave IceCold input Kay
    Kokkini licorice MilkyWay Opal PastelHills Patak pixels SafeLanding Shell starry_night truchet Volna
    WindowsLogo
"""
"""Drawings and patterns that `kind_of` takes for photographs."""
TAKEN_BLURRED = {"clock_motion.png", "licenseplate_motion.jpg", "text_defocus.jpg", "text_motion.jpg"}


@dataclass(frozen=True)
class Measured:
    """One picture: for each issue the value that is compared with its limit, mean luma, share of white."""

    blur: float
    dark: float
    bright: float
    mean: float
    white: float


@dataclass(frozen=True)
class Studied:
    """One original: where it lies, what it is, what was measured on it and on its edits."""

    path: Path
    kind: str
    original: Measured
    edited: dict[str, Measured]


# --- edits

Edit = Callable[[Image.Image, random.Random], Image.Image]


def blurred(percentage: float) -> Edit:
    """Out of focus: a Gaussian blur whose sigma is a share of the longer side."""
    return lambda image, _: image.filter(ImageFilter.GaussianBlur(max(image.size) * percentage / 100))


def moved(percentage: float) -> Edit:
    """Moved during exposure, along one side, by a share of the longer one."""

    def move(image: Image.Image, chance: random.Random) -> Image.Image:
        length = max(2, round(max(image.size) * percentage / 100))
        smeared = uniform_filter1d(np.asarray(image, np.float32), length, axis=chance.randrange(2))
        return Image.fromarray(smeared.round().clip(0, 255).astype(np.uint8))

    return move


def exposed(factor: float) -> Edit:
    """That many times the light, clipped at white (levels by IEC 61966-2-1)."""
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4) * factor
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.minimum(light, 1) ** (1 / 2.4) - 0.055)
    table = (levels.clip(0, 1) * 255).round().astype(int).tolist()
    return lambda image, _: image.point(table * 3)


def thumbnail(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return small


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


EDITS: dict[str, dict[str, Edit]] = {
    "blur": {
        **{f"blurred, sigma {sigma} %": blurred(sigma) for sigma in (0.25, 0.5, 0.7, 1, 2)},
        "blurred, sigma 1 %, then noise of 10 levels": lambda image, chance: noisy(
            blurred(1)(image, chance), 10, chance
        ),
        f"blurred, sigma 1 %, then {THUMBNAIL} px": lambda image, chance: thumbnail(
            blurred(1)(image, chance)
        ),
        **{f"moved by {length} %": moved(length) for length in (1, 2, 4, 8)},
        f"*{THUMBNAIL} px*": lambda image, _: thumbnail(image),
        "*JPEG quality 30*": lambda image, _: as_jpeg(image, 30),
        "*light × 0.1*": exposed(0.1),
        "*light × 8*": exposed(8),
    },
    "dark": {f"light × {factor}": exposed(factor) for factor in (0.5, 0.2, 0.1, 0.05, 0.025)},
    "bright": {f"light × {factor}": exposed(factor) for factor in (2, 4, 8, 16)},
}
LIMITS: dict[str, tuple[float, ...]] = {
    "blur": (1.5, 2, 2.5, 2.7, 2.8, 2.9, 3, 4),
    "dark": (40, 50, 60, 65, 70, 75, 80, 90),
    "bright": (220, 210, 200, 195, 190, 185, 180, 170),
}
"""Limits to choose from, each farther than the one before."""
COUNTED = {"blur": (PHOTOGRAPHS, CUT_OUTS), "dark": (PHOTOGRAPHS,), "bright": (PHOTOGRAPHS,)}
"""Whose untouched originals decide. Paper around a cut-out is never dark and always bright."""
HELD = {"blur": issues.BLUR, "dark": issues.DARK, "bright": issues.BRIGHT}


# --- measures


def measured(image: Image.Image) -> Measured:
    rgb = np.asarray(image.convert("RGB"))
    quality = measure(Image.fromarray(rgb))
    signature = np.frombuffer(quality.signature, np.uint8)[np.newaxis]
    edges = issues.edge_strength(np.array([quality.sharpness]), np.array([quality.contrast]))
    return Measured(
        blur=np.inf if is_low_information(quality) else float(edges[0]),
        dark=float(issues.lightest_part(signature)[0]),
        bright=float(issues.luma_without_paper(np.array([quality.brightness]), signature)[0]),
        mean=quality.brightness,
        white=float((rgb.min(axis=2) >= WHITE).mean()),
    )


def kind(path: Path, image: Image.Image) -> str:
    if path.name in TAKEN_BLURRED:
        return BLURRED
    stem = name_of(path).split(".")[0].removesuffix("-d")
    return DRAWINGS if stem in DRAWN.split() else kind_of(np.asarray(image))


def name_of(path: Path) -> str:
    """The name of its file, of a wallpaper that of its folder."""
    return family(path) if "contents" in path.parts else path.name


def study(path: Path, image: Image.Image, seed: int) -> Studied:
    edited = {
        name: measured(edit(image, random.Random(f"{seed} {path.name} {name}")))
        for edits in EDITS.values()
        for name, edit in edits.items()
    }
    return Studied(path, kind(path, image), measured(image), edited)


def study_all(folders: Iterable[Path], seed: int) -> list[Studied]:
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        found = ordered_map(pool, lambda item: study(*item, seed), originals(folders), ahead=2 * workers)
        return [studied for _, studied in found]


def page(seed: int) -> Image.Image:
    """A scanned page of text on white paper."""
    chance = random.Random(seed)
    image = Image.new("L", (1240, 1754), 252)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(chance.choice((22, 28, 36)))
    for y in range(150, chance.randrange(500, 1600), 60):
        words = " ".join("x" * chance.randrange(1, 12) for _ in range(chance.randrange(4, 10)))
        draw.text((120, y), words[:70], fill=30, font=font)
    return image.convert("RGB")


# --- figures


def is_flagged(issue: str, value: float, limit: float) -> bool:
    return value > limit if issue == "bright" else value < limit


def share(issue: str, pictures: Sequence[Measured], limit: float) -> float:
    flagged = [is_flagged(issue, getattr(picture, issue), limit) for picture in pictures]
    return sum(flagged) / len(flagged) if flagged else 0.0


def best_limit(issue: str, untouched: Sequence[Measured]) -> float:
    """The farthest limit at which few untouched originals are flagged; the nearest if all flag too many."""
    found = [limit for limit in LIMITS[issue] if share(issue, untouched, limit) <= FLAGGED_SHARE]
    return found[-1] if found else LIMITS[issue][0]


def of_kind(studied: Sequence[Studied], *kinds: str) -> list[Studied]:
    return [one for one in studied if one.kind in kinds]


def best_limits(studied: Sequence[Studied]) -> dict[str, float]:
    return {
        issue: best_limit(issue, [one.original for one in of_kind(studied, *kinds)])
        for issue, kinds in COUNTED.items()
    }


def rows(issue: str, ones: Sequence[Studied]) -> dict[str, list[Measured]]:
    """The pictures of each row of a table."""
    found = {"*untouched*": [one.original for one in ones]}
    found |= {name: [one.edited[name] for one in ones] for name in EDITS[issue]}
    if issue == "bright":
        edited = [picture for name in EDITS[issue] for picture in found[name]]
        found["of these, half white"] = [picture for picture in edited if picture.white >= 0.5]
    return found


# --- report


def by_limit(issue: str, ones: Sequence[Studied]) -> list[str]:
    """How many percent of photographs are flagged at each limit."""
    limits = LIMITS[issue]
    lines = [row(f"{issue}, limit", *map(str, limits)), row("---", *["---:"] * len(limits))]
    for name, pictures in rows(issue, ones).items():
        lines.append(row(name, *(percent(share(issue, pictures, limit)) for limit in limits)))
    return lines


def by_kind(issue: str, studied: Sequence[Studied], limit: float) -> list[str]:
    """How many percent of each kind are flagged at one limit."""
    kinds = {name: of_kind(studied, name) for name in (PHOTOGRAPHS, CUT_OUTS, DRAWINGS)}
    tables = [rows(issue, ones) for ones in kinds.values()]
    lines = [row(f"{issue}, limit {limit:g}", *kinds), row("---", *["---:"] * len(kinds))]
    for name in tables[0]:
        lines.append(row(name, *(percent(share(issue, table[name], limit)) for table in tables)))
    if issue == "bright":
        lines.append(row("*untouched, by mean luma alone*", *map(by_mean_luma(limit), kinds.values())))
    return lines


def by_mean_luma(limit: float) -> Callable[[Sequence[Studied]], str]:
    return lambda ones: percent(sum(one.original.mean > limit for one in ones) / max(len(ones), 1))


def named(issue: str, ones: Iterable[Studied]) -> str:
    listed = sorted((getattr(one.original, issue), name_of(one.path)) for one in ones)
    return ", ".join(f"{name} ({value:.1f})" for value, name in listed) or "none"


def section(issue: str, studied: Sequence[Studied], limit: float) -> list[str]:
    photographs = of_kind(studied, PHOTOGRAPHS)
    flagged = [one for one in photographs if is_flagged(issue, getattr(one.original, issue), limit)]
    return [
        f"## {issue.capitalize()}: limit {limit}",
        "",
        ABOUT[issue],
        *by_limit(issue, photographs),
        "",
        *by_kind(issue, studied, limit),
        "",
        f"Untouched photographs that are flagged at {limit}: {named(issue, flagged)}.",
        "",
    ]


def report(studied: Sequence[Studied], folders: Sequence[str], limits: Mapping[str, float]) -> str:
    """docs/issues.md; there is at least one photograph."""
    counts = {name: len(of_kind(studied, name)) for name in (PHOTOGRAPHS, CUT_OUTS, DRAWINGS)}
    head = HEAD.format(
        version=__version__,
        folders=" ".join(folders),
        side=f"{LARGEST_SIDE:,}",
        counts=", ".join(f"{count:,} {name.lower()}" for name, count in counts.items()),
        most=f"{100 * FLAGGED_SHARE:g}",
        one=percent(1 / counts[PHOTOGRAPHS]),
    )
    sections = [line for issue, limit in limits.items() for line in section(issue, studied, limit)]
    taken = of_kind(studied, BLURRED)
    tail = TAIL.format(
        named=named("blur", taken),
        found=sum(is_flagged("blur", one.original.blur, limits["blur"]) for one in taken),
        of=len(taken),
        pages=percent(share("bright", [measured(page(seed)) for seed in range(PAGES)], limits["bright"])),
        of_pages=PAGES,
    )
    return "\n".join([head, *sections, tail])


ABOUT = {
    "blur": """The standard deviation of the Laplacian at 224 x 224, in percent of the contrast. A sigma of
1 % is two pixels there, one of 0.25 % is next to nothing. Flat pictures are never blurred. Rows in italics
are sharp. The limit counts photographs and cut-outs together, since these are photographs of things.
""",
    "dark": """The luma of the fifth lightest of 16 x 16 cells: a dark picture is one without any light part.
""",
    "bright": """The mean luma. Where half of the border of 16 x 16 cells is white (250 and above), as around
cut-outs, white is left out, and what counts is the luma that a tenth of the other cells stay below. "Half
white" are edits with at least half of their pixels white in all channels, whatever the light.
""",
}

HEAD = """# What counts as blurred, dark or bright

Written by TwinLens {version}:

    python scripts/measure_issues.py {folders} --out docs/issues.md

Originals come from scikit-image and from these folders, which in the repository's copy of this page are
unpacked Debian packages of those names: one picture of each scene, at most {side} px wide and high, cut-outs
on white. There are {counts}.

Rows say how many percent of them are flagged. A limit is the farthest of those in its first table, which
holds the photographs, at which at most {most} % of the untouched are. One photograph is {one} % of them:
shares of the untouched are rough. Sigma and movement are percentages of the longer side. Light is linear;
what does not fit is clipped.

Confidence is 0.8 at a limit and 1.0 at the end of the scale (no edges, luma 0, luma 255). It grows in
proportion to the distance from the limit and is no probability.
"""

TAIL = """## What is not seen

- Blur of movement, mostly: edges along it stay sharp. Of {of} photographs that were blurred when they were
  taken, so many are found: {found}. Strength of their edges, in percent:
  {named}.
- Blur under noise, and blur of thumbnails, which are enlarged to be measured.
- What was meant. Night scenes without a light part are dark. Pale things on white are bright, and so are
  {pages} % of {of_pages} pages of text that the script makes.
- Stored measures of a large JPEG are those of a reduced decoding, these are of all pixels.
- Embeddings without pictures have none of these issues.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, help="a Markdown file; printed without it")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    package = find_spec("skimage")
    shipped = [Path(package.origin).parent / "data"] if package and package.origin else []
    studied = study_all([*shipped, *arguments.folders], arguments.seed)
    limits = best_limits(studied)
    text = report(studied, [folder.absolute().name for folder in arguments.folders], limits)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    if limits != HELD:
        raise SystemExit(f"measured {limits}, and engine/issues.py holds {HELD}")


if __name__ == "__main__":
    main()
