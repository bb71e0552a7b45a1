"""The pictures of the quality benchmark: real ones from packages that nothing was trained on.

The packages are split by name, never by file: `TESTED` holds those that a descriptor or a threshold must
not have seen. Pictures of one scene (frames of a film, the two views of a stereo pair, cuts of one large
photograph, pages of one document, pictures in one template, drawings in one style) carry the name of their
scene: they are hard negatives of each other. Of a wallpaper in several colours one is taken. Twins among the
pictures are found without any embedder, by hash and by local features, so that no method is favoured (`kin`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from scripts.cut_outs import on_white
from scripts.quality_pages import documents
from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError
from twinlens.engine.hashing import phash
from twinlens.engine.quality import is_low_information, measure

TESTED = (
    "gnome-backgrounds",
    "kgeography-data",
    "lxqt-themes",
    "opencv-doc",
    "palapeli-data",
    "python3-skimage",
    "python-skimage-doc",
    "scratch",
)
STAMPS = "tuxpaint-stamps-default"
"""Nothing is trained on it either; its pictures are distractors here, its folders categories elsewhere."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"}
FILMS = {".avi", ".mp4", ".webm"}
LARGEST_SIDE = 640
SMALLEST_SIDE = 96
CUT_FROM = 1600
"""Photographs at least this wide, px, are cut to six that do not overlap."""

NOT_PICTURES = {"icons", "search", "_static", "symbols", "resources", "tests"}
"""Folders of icons and single signs."""

SAME_HASH_BITS = 6
FRAMES = 24
FRAME_SECONDS = 2.0
VIEWS = "view of "
SERIES = "series "
STYLE = "style "
DOCUMENTS = f"{VIEWS}documents"
"""The scene of all pages: documents look alike to anything that does not read."""

MANUALS = {"html", "help"}
"""Folders of manuals: their figures show the pictures of examples, edited."""

EXAMPLES = {"python-skimage-doc": "python3-skimage"}
"""Where the examples of a package's manual take their pictures from, if not from the package itself."""

DETAILED = 60
"""Keypoints that a cut needs: a patch of sky is nobody's picture."""

STEREO = {
    "aloe": "aloe",
    "graf": "graffiti",
    "leuven": "leuven",
    "left": "chessboard",
    "motorcycle": "motorcycle",
    "right": "chessboard",
}
"""Photographs of one scene from several sides, by the first word of their names."""

STYLES = (
    (re.compile("kgeography-data/.*/flags/"), "flags"),
    (re.compile("kgeography-data/usr/share/kgeography/[^/]*$"), "maps"),
    (re.compile("opencv-doc/.*/shape_sample/"), "silhouettes"),
    (re.compile("scratch/.*/(Letters/[^/]*)/"), ""),
    (re.compile("scratch/.*/Costumes/(.*?)-[^/]*$"), ""),
)
"""Drawings in one style: flags, maps, the letters of an alphabet, the poses of a figure ("dog2-a", "dog2-c").
Each pattern with its style's name; where that is empty, the name is what the pattern's group finds."""

WALLPAPERS = ("gnome-backgrounds", "lxqt-themes")
COLOURINGS = {"bright", "d", "dark", "green", "kde", "l", "light", "logo", "lxqt", "purple"}
"""Words by which the names of one wallpaper's colourings differ."""

KEYPOINTS = 400
FEW_MATCHES = 18
LOWE = 0.75
CANDIDATES = 12
COARSE_SIDE = 16

Hash = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One picture, not larger than `LARGEST_SIDE`.

    Attributes:
        name: package and path, unique.
        image: its pixels.
        scene: what it shares with its hard negatives; None where it has none. It begins with `VIEWS` where
            pictures of one scene are known to be different ones, however alike, and with `SERIES` where
            they are figures of one manual, some of which may be copies of each other; with `STYLE` for
            drawings in one style.
    """

    name: str
    image: Image.Image
    scene: str | None = None


def package_folders(root: Path) -> dict[str, Path]:
    """Where each package lies: a folder of its name under `root`, or an installed scikit-image."""
    found = {name: root / name for name in (*TESTED, STAMPS) if (root / name).is_dir()}
    package = find_spec("skimage")
    if "python3-skimage" not in found and package and package.origin:
        found["python3-skimage"] = Path(package.origin).parent / "data"
    return found


def read(path: Path) -> Image.Image | None:
    """A picture at full size, cut-outs on white; None where it cannot be read."""
    try:
        decoded = decode(path)
    except DecodeError:
        return None
    if not decoded.transparent:
        return Image.fromarray(decoded.rgb)
    with Image.open(path) as file:
        return on_white(file)


def fitted(image: Image.Image) -> Image.Image:
    """No larger than `LARGEST_SIDE`."""
    small = image.copy()
    small.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return small


def cuts(image: Image.Image) -> Iterator[Image.Image]:
    """Six parts in a grid of three by two."""
    width, height = image.width / 3, image.height / 2
    for row in range(2):
        for column in range(3):
            box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
            yield image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))


def frames(path: Path) -> Iterator[Image.Image]:
    """Frames of a film, at least `FRAME_SECONDS` apart."""
    film = cv2.VideoCapture(str(path))
    rate, total = film.get(cv2.CAP_PROP_FPS) or 25, int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    step = max(round(rate * FRAME_SECONDS), total // FRAMES, 1)
    for place in range(0, total, step):
        film.set(cv2.CAP_PROP_POS_FRAMES, place)
        read_it, frame = film.read()
        if read_it:
            yield Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    film.release()


def pictures_of(path: Path, name: str) -> Iterator[Picture]:
    """What one file gives: a picture, six cuts of a large one, or frames of a film."""
    if path.suffix.lower() in FILMS:
        for place, frame in enumerate(frames(path)):
            yield Picture(f"{name}#{place}", fitted(frame), VIEWS + name)
        return
    image = read(path)
    if image is None or min(image.size) < SMALLEST_SIDE:
        return
    if image.width >= CUT_FROM and not is_figure(name):
        parts = [fitted(part) for part in cuts(image)]
        local = LocalFeatures()
        for place, part in enumerate(parts):
            if len(local.of(part)[0]) >= DETAILED:
                yield Picture(f"{name}#{place}", part, VIEWS + name)
    else:
        yield Picture(name, fitted(image), scene_of(name))


def scene_of(name: str) -> str | None:
    """The scene of a whole picture, by its path.

    >>> scene_of("opencv-doc/examples/data/left04.jpg"), scene_of("opencv-doc/html/Template_Result_3.jpg")
    ('view of chessboard', 'series opencv-doc template')
    >>> scene_of("scratch/Media/Costumes/Animals/dog2-a.png"), scene_of("kgeography-data/x/flags/peru.png")
    ('style Animals/dog2', 'style flags')
    """
    package, *_, file = name.split("/")
    word = re.match("(?:sphx_glr_plot_)?([A-Za-z]?[a-z]*)", file)
    first = word[1].lower() if word else ""
    if is_figure(name):
        return f"{SERIES}{package} {first}"
    if first in STEREO:
        return f"{VIEWS}{STEREO[first]}"
    found = ((style, pattern.match(name)) for pattern, style in STYLES)
    return next((f"{STYLE}{style or match[1]}" for style, match in found if match), None)


def is_figure(name: str) -> bool:
    """True for what a manual shows."""
    return not MANUALS.isdisjoint(name.lower().split("/"))


def examples_of(name: str) -> str:
    """The package whose pictures a figure may show, or that a picture of examples comes from."""
    package = name.partition("/")[0]
    return EXAMPLES.get(package, package)


def wallpaper(name: str) -> str | None:
    """What the colourings of one wallpaper have in common; None for other pictures.

    >>> wallpaper("lxqt-themes/plasma-logo-dark.png") == wallpaper("lxqt-themes/kde-plasma.png")
    True
    """
    folder, _, file = name.rpartition("/")
    if not folder.startswith(WALLPAPERS):
        return None
    words = file.lower().rpartition(".")[0].split("-")
    return f"{folder}/{'-'.join(word for word in words if word not in COLOURINGS)}"


def are_views(a: str | None, b: str | None) -> bool:
    """True if two pictures of these scenes are different ones of one scene."""
    return a is not None and a == b and a.startswith(VIEWS)


def is_candidate(path: Path) -> bool:
    """True for a film or a picture that is no icon."""
    if path.is_symlink() or not path.is_file() or NOT_PICTURES.intersection(path.parts):
        return False
    return path.suffix.lower() in SUFFIXES | FILMS


def hashes_of(image: Image.Image) -> list[Hash]:
    """The bits of its phash, and of its mirror image's."""
    views = (image, ImageOps.mirror(image))
    return [np.unpackbits(phash(np.asarray(view))) for view in views]


def all_pictures(folders: dict[str, Path], limit: int, seed: int) -> Iterator[Picture]:
    """Pictures with something to see, none of the same hash as one before; documents and templates first.

    Args:
        folders: the packages.
        limit: how many at most; files come in an order drawn by the seed, so that each package has its share.
        seed: of that order.
    """
    files = sorted(
        (f"{package}/{path.relative_to(folder).as_posix()}", path)
        for package, folder in folders.items()
        for path in folder.rglob("*")
        if is_candidate(path)
    )
    random.Random(f"{seed} files").shuffle(files)
    files = _one_of_each_wallpaper(files)
    # What manuals show of a photograph goes, the photograph stays.
    files.sort(key=lambda each: is_figure(each[0]))
    known = np.empty((0, 64), np.uint8)
    count = 0
    for picture in _drawn_and_found(files, seed):
        if is_low_information(measure(picture.image)):
            continue
        views = hashes_of(picture.image)
        # Frames and pages may have one hash; they are what hard negatives are for. Wallpapers come in
        # several colours, which have one hash as well and are copies.
        is_frame = Path(picture.name.partition("#")[0]).suffix.lower() in FILMS
        if not is_frame and picture.scene != DOCUMENTS and _is_known(views, known):
            continue
        known = np.concatenate([known, views[:1]])
        yield picture
        count += 1
        if count >= limit:
            return


def _one_of_each_wallpaper(files: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    first: dict[str, tuple[str, Path]] = {}
    for name, path in files:
        first.setdefault(wallpaper(name) or name, (name, path))
    return list(first.values())


def _is_known(views: Sequence[Hash], known: NDArray[np.uint8]) -> bool:
    return any(bool((np.count_nonzero(known != view, axis=1) <= SAME_HASH_BITS).any()) for view in views)


def _drawn_and_found(files: Sequence[tuple[str, Path]], seed: int) -> Iterator[Picture]:
    for name, image in documents(seed):
        yield Picture(name, image, DOCUMENTS)
    for name, path in files:
        yield from pictures_of(path, name)


# --- twins among the pictures


def coarse(image: Image.Image) -> NDArray[np.float32]:
    """A grey thumbnail as a vector of unit length, its mean taken off."""
    small = ImageOps.grayscale(image).resize((COARSE_SIDE, COARSE_SIDE), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).reshape(-1)
    values = values - values.mean()
    unit: NDArray[np.float32] = values / np.float32(max(float(np.linalg.norm(values)), 1e-6))
    return unit


class LocalFeatures:
    """Keypoints of a picture (ORB), to tell whether two pictures show the same thing in the same way."""

    def __init__(self) -> None:
        self._orb = cv2.ORB.create(nfeatures=KEYPOINTS, fastThreshold=12)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)

    def of(self, image: Image.Image) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Places [n, 2] and descriptors [n, 32]."""
        small = np.asarray(ImageOps.contain(ImageOps.grayscale(image), (400, 400)))
        points, descriptors = self._orb.detectAndCompute(small, None)
        if descriptors is None:
            return np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
        return np.array([point.pt for point in points], np.float32), descriptors

    def agree(
        self,
        a: tuple[NDArray[np.float32], NDArray[np.uint8]],
        b: tuple[NDArray[np.float32], NDArray[np.uint8]],
    ) -> bool:
        """True if enough keypoints match under one similarity transform."""
        if min(len(a[0]), len(b[0])) < FEW_MATCHES:
            return False
        pairs = self._matcher.knnMatch(a[1], b[1], k=2)
        good = [best for best, *rest in pairs if rest and best.distance < LOWE * rest[0].distance]
        if len(good) < FEW_MATCHES:
            return False
        left, right = (
            np.array([points[getattr(match, side)] for match in good], np.float32)
            for points, side in ((a[0], "queryIdx"), (b[0], "trainIdx"))
        )
        cv2.setRNGSeed(1)
        _, inliers = cv2.estimateAffinePartial2D(left, right, ransacReprojThreshold=4.0)
        return inliers is not None and int(inliers.sum()) >= FEW_MATCHES


def kin(images: Iterable[Image.Image]) -> set[tuple[int, int]]:
    """Pairs of numbers of pictures, the lower first, that show the same thing: nobody is judged by them.

    All pairs whose keypoints share visual words often, or whose thumbnails are alike, are compared in full.
    """
    local = LocalFeatures()
    points, thumbs = [], []
    for image in images:
        points.append(local.of(image))
        thumbs.append(coarse(image))
    likely = _near(np.stack(thumbs)) | _near(_bags([descriptors for _, descriptors in points]))
    return {(a, b) for a, b in sorted(likely) if local.agree(points[a], points[b])}


def _near(rows: NDArray[np.float32]) -> set[tuple[int, int]]:
    """Each row with its nearest others."""
    products = rows @ rows.T
    np.fill_diagonal(products, -2)
    count = min(CANDIDATES, len(rows) - 1)
    nearest = np.argpartition(-products, count - 1, axis=1)[:, :count]
    return {(min(a, int(b)), max(a, int(b))) for a, row in enumerate(nearest) for b in row}


def _bags(descriptors: Sequence[NDArray[np.uint8]], bits: int = 11) -> NDArray[np.float32]:
    """Counts of visual words, weighted and of unit length; a word is a few fixed bits of a descriptor."""
    rows = np.zeros((len(descriptors), 4 << bits), np.float32)
    for number, each in enumerate(descriptors):
        unpacked = np.unpackbits(each, axis=1).astype(np.int64)
        for table in range(4):
            chosen = np.random.default_rng(table).choice(256, bits, replace=False)
            words = unpacked[:, chosen] @ (1 << np.arange(bits))
            np.add.at(rows[number], (table << bits) + words, 1)
    rows *= np.log(len(rows) / np.maximum(1, np.count_nonzero(rows, axis=0)))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows
