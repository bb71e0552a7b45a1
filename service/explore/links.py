"""URLs of images, which browsers load without a key: absolute, signed, good for a while."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from starlette.requests import Request

from twinlens.service.explore.signing import UrlSigner

_HOST = re.compile(r"[A-Za-z0-9._\-\[\]:]{1,255}")
_MEDIA = "/api/v1/dataset/{dataset}/media/{media}/{name}"
IMAGE, THUMBNAIL = "image", "thumbnail.webp"


@dataclass(frozen=True, slots=True)
class Links:
    """The URLs that one request is answered with.

    Attributes:
        base: scheme and authority of this server as the client knows it, without a slash at the end.
        signer: signs them.
        now: Unix time.
    """

    base: str
    signer: UrlSigner
    now: float

    def image(self, dataset: str, media: str) -> str:
        """The file itself."""
        return self._signed(_MEDIA.format(dataset=dataset, media=media, name=IMAGE))

    def thumbnail(self, dataset: str, media: str) -> str:
        """Its preview."""
        return self._signed(_MEDIA.format(dataset=dataset, media=media, name=THUMBNAIL))

    def export(self, dataset: str, task: str, name: str) -> str:
        """The ZIP of an export."""
        return self._signed(f"/api/v1/dataset/{dataset}/exports/{task}/{name}")

    @property
    def period(self) -> str:
        """Equal for links with equal URLs."""
        return f"{self.base} {self.signer.sign('', self.now)}"

    def _signed(self, path: str) -> str:
        return f"{self.base}{path}?{self.signer.sign(path, self.now)}"


def links_for(request: Request, signer: UrlSigner, public_url: str | None) -> Links:
    """Links that the client of a request can follow.

    Args:
        request: says by which name the client reached this server.
        signer: signs them.
        public_url: what the operator says it is reached by, if so.
    """
    base = public_url.rstrip("/") if public_url else _base(request)
    return Links(base, signer, time.time())


def _base(request: Request) -> str:
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        address = request.scope.get("server") or ("localhost", 80)
        host = f"{address[0]}:{address[1]}"
    return f"{request.scope['scheme']}://{host}"
