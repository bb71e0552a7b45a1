"""Signed URLs: what an `<img>` tag loads, which sends no key.

Who is shown a URL may load it until it expires, and no other path with its signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math

from twinlens.service.explore.failures import Forbidden

_VERSION = b"twinlens url 1\n"
_ADVICE = "ask for what shows it again"


class UrlSigner:
    """Signs paths with HMAC-SHA256. Threads may share one.

    Args:
        secret: 32 random bytes, the same for all processes that serve the URLs.
        seconds: at least that long, and at most twice as long, a URL is good for; 1 or more.
    """

    def __init__(self, secret: bytes, *, seconds: int) -> None:
        self._seconds = seconds
        # The state after key and version is copied for each URL: pages have 2,000 of them.
        self._begun = hmac.new(secret, _VERSION, hashlib.sha256)

    def sign(self, path: str, now: float) -> str:
        """The query string that lets a path be loaded: `expires=...&signature=...`.

        It stays the same for `seconds`, so that browsers and caches know what they have loaded before.

        Args:
            path: as the server will see it, decoded, without a query string.
            now: Unix time.
        """
        expires = str((math.ceil(now / self._seconds) + 1) * self._seconds)
        return f"expires={expires}&signature={self._signature(path, expires)}"

    def check(self, path: str, expires: str | None, signature: str | None, now: float) -> None:
        """See that a path was signed, and not too long ago.

        Args:
            path: that is asked for, decoded.
            expires: from the query string; None if it is not there.
            signature: from the query string; None if it is not there.
            now: Unix time.

        Raises:
            Forbidden: the signature is missing or wrong, or was right and has expired.
        """
        if not expires or not signature:
            raise Forbidden(f"the signature of this URL is missing: {_ADVICE}")
        # Without a line break there, no other path and expiry make the same message.
        wanted = self._signature(path, expires) if expires.isdigit() else ""
        if not hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), wanted.encode()):
            raise Forbidden(f"the signature of this URL is wrong: {_ADVICE}")
        if int(expires) <= now:
            raise Forbidden(f"the signature of this URL has expired: {_ADVICE}")

    def _signature(self, path: str, expires: str) -> str:
        signed = self._begun.copy()
        signed.update(f"{expires}\n{path}".encode("utf-8", "surrogatepass"))
        return base64.urlsafe_b64encode(signed.digest()).rstrip(b"=").decode()
