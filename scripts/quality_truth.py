"""A collection with known copies, as files: originals, their edited copies, and other pictures.

    references/   originals and distractors
    plain/        copies by the seventeen plain families of edits
    hard/         copies by the harder ones
    truth.json    what each file is

The same packages, sizes and seed give the same files. Two pictures of which local features say that they
show the same thing are never both in it, unless they share a scene: those are hard negatives.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from random import Random

from PIL import Image

from scripts.quality_edits import PLAIN, Family, Setting
from scripts.quality_hard_edits import HARD
from scripts.quality_pages import templates
from scripts.quality_pictures import (
    SERIES,
    STAMPS,
    STYLE,
    VIEWS,
    all_pictures,
    are_views,
    kin,
    package_folders,
)

FORMAT = 3
SETS: dict[str, tuple[Family, ...]] = {"plain": PLAIN, "hard": HARD}
GRADES = ("mild", "medium", "strong")
ORIGINALS_OF_A_SCENE = 3
PICTURES_IN_A_TEMPLATE = 6
QUALITY_OF_ORIGINALS = 92
QUALITY_OF_COPIES = (78, 95)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many files of each kind: distractors are at most so many, the others exactly.

    One picture of each template is an original, five are distractors.
    """

    originals: int = 300
    plain: int = 2400
    hard: int = 1998
    distractors: int = 3000
    fillers: int = 150
    templates: int = 15


QUICK = Sizes(originals=40, plain=170, hard=180, distractors=260, fillers=40, templates=3)


@dataclass(frozen=True, slots=True)
class Item:
    """One file.

    Attributes:
        file: within the folder.
        source: the picture it was made of, by package and path.
        original: number of the original that it is or is a copy of; None for distractors.
        set: "plain" or "hard" for copies, "" for others.
        family, strength: of the edit; strength in [0, 1].
        scene: what it shares with its hard negatives; None where it has none.
        fillers: what other pictures are in it.
    """

    file: str
    source: str
    original: int | None = None
    set: str = ""
    family: str = ""
    strength: float = 0.0
    scene: str | None = None
    fillers: tuple[int, ...] = ()

    @property
    def grade(self) -> str:
        """Mild, medium or strong."""
        return GRADES[min(2, int(self.strength * 3))]


@dataclass(frozen=True)
class Truth:
    """The collection: references with the originals first, then the copies of each set."""

    folder: Path
    originals: int
    references: list[Item]
    copies: dict[str, list[Item]]

    @property
    def items(self) -> list[Item]:
        """All of it, references first."""
        return [*self.references, *chain.from_iterable(self.copies.values())]


def built(folder: Path, packages: Path, sizes: Sizes, seed: int) -> Truth:
    """The collection in a folder, made unless it is there already."""
    settings = {"format": FORMAT, "seed": seed, "sizes": asdict(sizes)}
    record = folder / "truth.json"
    if record.is_file():
        known = json.loads(record.read_text())
        if known["settings"] == settings:
            return _from_json(folder, known)
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("references", "fillers", *SETS):
        (folder / name).mkdir(parents=True)
    references, fillers = _save_references(folder, packages, sizes, seed)
    originals = references[: sizes.originals]
    counts = {"plain": sizes.plain, "hard": sizes.hard}
    copies = {name: list(_save_copies(folder, name, originals, fillers, counts[name], seed)) for name in SETS}
    truth = Truth(folder, sizes.originals, references, copies)
    record.write_text(json.dumps({"settings": settings} | _to_json(truth)))
    return truth


def _save_references(folder: Path, packages: Path, sizes: Sizes, seed: int) -> tuple[list[Item], list[Path]]:
    """Originals and distractors, and the files of the pictures that edits paste in."""
    pool = folder / "pool"
    pool.mkdir()
    in_templates = sizes.templates * PICTURES_IN_A_TEMPLATE
    wanted = sizes.originals + sizes.distractors + sizes.fillers + in_templates
    found = [
        (save(picture.image, pool / f"{number:05}.jpg", QUALITY_OF_ORIGINALS), picture.name, picture.scene)
        for number, picture in enumerate(all_pictures(package_folders(packages), 2 * wanted, seed))
    ]
    kept = without_kin(found)
    originals, others = chosen_originals(kept, sizes.originals - sizes.templates, seed)
    loose = [each for each in others if each[2] is None]
    Random(f"{seed} fillers").shuffle(loose)
    fillers, cards = loose[: sizes.fillers], loose[sizes.fillers :][:in_templates]
    spare = {path for path, *_ in (*fillers, *cards)}
    rest = [each for each in others if each[0] not in spare]
    drawn = _save_templates(pool, cards, seed)
    first = [each for each in drawn if each[1].endswith("/0")]
    distractors = [*(each for each in drawn if each not in first), *_scenes_first(rest, originals)]
    chosen = [*originals, *first, *distractors[: sizes.distractors]]
    references = []
    for number, (path, name, scene) in enumerate(chosen):
        file = f"references/{number:05}.jpg"
        path.rename(folder / file)
        original = number if number < sizes.originals else None
        references.append(Item(file, name, original, scene=scene))
    kept_fillers = [path.rename(folder / "fillers" / path.name) for path, *_ in fillers]
    shutil.rmtree(pool)
    return references, kept_fillers


Saved = tuple[Path, str, str | None]


def without_kin(found: Sequence[Saved]) -> list[Saved]:
    """Without pictures that show what one before them shows, unless both are views of one scene."""
    pairs = kin(Image.open(path) for path, *_ in found)
    dropped: set[int] = set()
    for a, b in sorted(pairs):
        if a not in dropped and not are_views(found[a][2], found[b][2]):
            dropped.add(b)
    return [each for number, each in enumerate(found) if number not in dropped]


def chosen_originals(found: Sequence[Saved], count: int, seed: int) -> tuple[list[Saved], list[Saved]]:
    """Originals, from each package in turn and few of each scene, no figures of manuals, and the others.

    Drawings in one style may be as many as there are.
    """
    by_package: dict[str, list[Saved]] = defaultdict(list)
    for each in found:
        if each[2] is None or not each[2].startswith(SERIES):
            by_package[each[1].partition("/")[0]].append(each)
    by_package.pop(STAMPS, None)
    for name, pictures in by_package.items():
        Random(f"{seed} originals {name}").shuffle(pictures)
    scenes: dict[str, int] = defaultdict(int)
    originals: list[Saved] = []
    for each in chain.from_iterable(zip_longest(*(by_package[name] for name in sorted(by_package)))):
        if each is None or len(originals) == count:
            continue
        if each[2] is not None and not each[2].startswith(STYLE):
            scenes[each[2]] += 1
            if scenes[each[2]] > ORIGINALS_OF_A_SCENE:
                continue
        originals.append(each)
    if len(originals) < count:
        raise SystemExit(
            f"the packages hold {len(originals)} originals, {count} are needed: --quick needs fewer"
        )
    taken = {path for path, *_ in originals}
    return originals, [each for each in found if each[0] not in taken]


def _scenes_first(rest: Sequence[Saved], originals: Sequence[Saved]) -> list[Saved]:
    """Hard negatives of the originals before the others."""
    scenes = {scene for *_, scene in originals if scene is not None}
    return sorted(rest, key=lambda each: each[2] not in scenes)


def _save_templates(pool: Path, cards: Sequence[Saved], seed: int) -> list[Saved]:
    pictures = [Image.open(path).convert("RGB") for path, *_ in cards]
    rows = [
        pictures[start : start + PICTURES_IN_A_TEMPLATE]
        for start in range(0, len(pictures), PICTURES_IN_A_TEMPLATE)
    ]
    return [
        (
            save(card, pool / f"{name.replace('/', '-')}.jpg", QUALITY_OF_ORIGINALS),
            name,
            f"{VIEWS}templates",
        )
        for name, card in templates(rows, seed)
    ]


def _save_copies(
    folder: Path, name: str, originals: Sequence[Item], fillers: Sequence[Path], count: int, seed: int
) -> Iterator[Item]:
    """As many copies of each family as of any other, as many of each original, each of another family."""
    families = list(SETS[name])
    Random(f"{seed} {name}").shuffle(families)
    for number in range(count):
        original = originals[number * len(originals) // count]
        family = families[number % len(families)]
        chance = Random(f"{seed} {name} {original.source} {family.name}")
        strength = chance.random()
        chosen = tuple(chance.sample(range(len(fillers)), family.fillers))
        pictures = [Image.open(fillers[place]).convert("RGB") for place in chosen]
        with Image.open(folder / original.file) as file:
            copy = family.change(file.convert("RGB"), Setting(strength, chance, pictures))
        path = folder / name / f"{number:05}.jpg"
        save(copy, path, chance.randint(*QUALITY_OF_COPIES))
        yield Item(
            f"{name}/{path.name}",
            original.source,
            original.original,
            name,
            family.name,
            round(strength, 4),
            original.scene,
            chosen,
        )


def save(image: Image.Image, path: Path, quality: int) -> Path:
    """Write a JPEG."""
    image.convert("RGB").save(path, "JPEG", quality=quality)
    return path


def _to_json(truth: Truth) -> dict[str, object]:
    return {
        "originals": truth.originals,
        "references": [asdict(item) for item in truth.references],
        "copies": {name: [asdict(item) for item in items] for name, items in truth.copies.items()},
    }


def _from_json(folder: Path, known: dict[str, object]) -> Truth:
    def items(rows: list[dict[str, object]]) -> list[Item]:
        return [Item(**row | {"fillers": tuple(row["fillers"])}) for row in rows]  # type: ignore[arg-type]

    copies = {name: items(rows) for name, rows in known["copies"].items()}  # type: ignore[attr-defined]
    return Truth(folder, known["originals"], items(known["references"]), copies)  # type: ignore[arg-type]
