"""Headers of multipart/form-data: the boundary, and how clients name a field and a file.

Sources: RFC 7578; WHATWG HTML, "multipart/form-data encoding algorithm"; RFC 5987 for `filename*`, which
RFC 7578 forbids and .NET sends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from twinlens.engine.errors import InvalidValue
from twinlens.service.explore.failures import BadRequest
from twinlens.service.explore.staging import shown

_PARAMETER = re.compile(r';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)')
_ESCAPED = re.compile(r'\\(["\\])')
_PERCENT = {"%22": '"', "%0D": "\r", "%0A": "\n"}
"""What the HTML standard has clients escape in a name; any other percent sign is one."""

_CHARSETS = frozenset(("utf-8", "iso-8859-1"))
_MAX_BOUNDARY = 70
_MULTIPART = "multipart/form-data"
_AS_THEY_ARE = frozenset(("", "7bit", "8bit", "binary"))


@dataclass(frozen=True, slots=True)
class Disposition:
    """What a part is.

    Attributes:
        field: name of the form field.
        filename: as the client named it; None for a part that is no file.
    """

    field: str
    filename: str | None


def boundary_of(content_type: str | None) -> str:
    """The boundary that a `Content-Type` names.

    Raises:
        InvalidValue: another type, or a boundary that is missing, empty or longer than RFC 2046 allows.
    """
    kind = (content_type or "").split(";", 1)[0].strip()
    if kind.lower() != _MULTIPART:
        what = f"of the type {shown(kind)}" if kind else "without a Content-Type"
        raise InvalidValue(f"files come as {_MULTIPART}, and the body is {what}")
    boundary = _parameters(content_type or "").get("boundary", "")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise InvalidValue(
            f"the Content-Type {_MULTIPART} names a boundary of 1 to {_MAX_BOUNDARY} characters, "
            f"not of {len(boundary)}"
        )
    return boundary


def disposition_of(header: str | None) -> Disposition:
    """What the `Content-Disposition` of a part says.

    Args:
        header: its bytes, each as a character (latin-1).

    Raises:
        BadRequest: it is missing or of another kind, names no field, or only in a charset unknown here.
    """
    kind = (header or "").split(";", 1)[0].strip()
    if header is None or kind.lower() != "form-data":
        raise BadRequest("a part of the body has no header `Content-Disposition: form-data`")
    parameters = _parameters(header)
    if "name" not in parameters:
        raise BadRequest("a part of the body has no field name: Content-Disposition: form-data; name=...")
    filename = _extended(parameters["filename*"]) if "filename*" in parameters else None
    if filename is None and "filename" in parameters:
        filename = _plain(parameters["filename"])
    if filename is None and "filename*" in parameters:
        raise BadRequest(f"{shown(parameters['filename*'])} is no file name in UTF-8: send it as filename=")
    return Disposition(_plain(parameters["name"]), filename)


def check_transfer_encoding(header: str | None) -> None:
    """See that the bytes of a part are those of its file.

    Raises:
        BadRequest: they are base64 or quoted-printable, as in mail.
    """
    encoding = (header or "").strip().lower()
    if encoding not in _AS_THEY_ARE:
        raise BadRequest(
            f"the Content-Transfer-Encoding {shown(encoding)} is not read: send the bytes as they are"
        )


def _parameters(header: str) -> dict[str, str]:
    """By lower-case name, without quotes and backslashes; of several of one name the first."""
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(header):
        if value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        found.setdefault(name.lower(), value.strip(" \t"))
    return found


def _plain(value: str) -> str:
    raw = value.encode("latin-1")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = value
    for escape, letter in _PERCENT.items():
        text = text.replace(escape, letter)
    return text


def _extended(value: str) -> str | None:
    """Of RFC 5987, such as `UTF-8''na%C3%AFve.jpg`; None if it is not."""
    charset, _, rest = value.partition("'")
    _, mark, encoded = rest.partition("'")
    if not mark or charset.lower() not in _CHARSETS:
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset)
    except UnicodeDecodeError:
        return None
