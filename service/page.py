"""What the HTML files have in common: one self-contained file each, written in one step.

Pictures are data URIs, styles and scripts are those of this package. A content security policy
allows no network and nothing else, so that a file name can never become markup, style or script.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from twinlens.engine.results import Evidence
from twinlens.service.table import shown

EVIDENCE = {
    Evidence.BYTES: "identical bytes",
    Evidence.PIXELS: "identical pixels",
    Evidence.HASH: "hash",
    Evidence.EMBEDDING: "look-alike",
}
"""What each kind is called on a page."""


def write_page(out: Path, template: str, values: Mapping[str, Any]) -> None:
    """Fill a template of this package in, piece by piece, and replace the file in one step.

    A reader sees the old file or the whole new one. `style` and `script` of the values, where they are
    `Inline`, belong into the policy of the page by their hashes.

    Args:
        out: the file; missing folders above it are made.
        template: its name.
        values: what it shows; long parts may be iterators.

    Raises:
        OSError: the file cannot be written.
    """
    pieces = _template(template).generate(values)
    with _replacing(out) as file:
        file.writelines(pieces)


@contextmanager
def _replacing(out: Path) -> Iterator[TextIO]:
    target = Path(os.path.realpath(out))
    if target.exists() and not target.is_file():
        with open(target, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".new")
    try:
        with open(beside, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _template(name: str) -> Template:
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"count": "{:,}".format, "size": human_bytes, "similarity": similarity_text}
    return environment.get_template(name)


def _asset(name: str) -> str:
    return resources.files("twinlens.service").joinpath("templates", name).read_text("utf-8")


@dataclass(frozen=True)
class Inline:
    """A style or script of this package and the hash by which the page's policy allows it."""

    text: Markup
    hash: str

    @classmethod
    def asset(cls, *names: str) -> Inline:
        """One or several files of the package's templates, one after the other."""
        text = "".join(map(_asset, names))
        return cls(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def data_uri(picture: bytes | None) -> str | None:
    """A JPEG or a WebP as the source of an image element."""
    if picture is None:
        return None
    kind = "webp" if picture.startswith(b"RIFF") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


@dataclass(frozen=True)
class Paths:
    """Paths as they are shown: relative to the folder that all of them share."""

    root: str

    @classmethod
    def below_common_folder(cls, paths: Iterable[str]) -> Paths:
        """Paths relative to the deepest folder that holds all of some."""
        folders = {os.path.dirname(path) for path in paths}
        try:
            return cls(os.path.commonpath(folders))
        except ValueError:  # none at all, or absolute beside relative ones
            return cls("")

    def relative(self, path: str) -> str:
        """One path, relative to that folder."""
        return os.path.relpath(path, self.root) if self.root else path

    def view(self, path: str) -> dict[str, Any]:
        """One path in the parts that a template shows."""
        folder, name = os.path.split(self.relative(path))
        return {"name": shown(name), "folder": shown(folder), "path": shown(path), "href": _file_link(path)}


def _file_link(path: str) -> str | None:
    try:
        return Path(path).as_uri()
    except ValueError:  # not an absolute path, or one that no file system can hold
        return None


# -- numbers ---------------------------------------------------------------------------------------


def similarity_text(similarity: float) -> str:
    """Three decimals, rounded down: 0.9996 is not shown as 1, nor 0.9496 as 0.950."""
    return f"{round(similarity * 1_000_000) // 1000 / 1000:.3f}"


def number_text(number: float) -> str:
    """Whole numbers from ten on, one decimal below."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def human_bytes(count: int) -> str:
    """A size in decimal units: 512 bytes, 1.4 MB, 12 GB."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "bytes" else f"{size:,.0f} {unit}"
