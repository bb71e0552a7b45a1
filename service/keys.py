"""API keys: who may use a server.

They lie in `keys.sqlite` in the home folder, a file that only its owner can read. Of a token, only the
SHA-256 is stored: it has 256 random bits, which nobody can guess from their digest, so that the slow
hashes made for passwords would protect nothing more. The secret is stored as it is: checking an HS256
signature needs it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from twinlens.engine.errors import InvalidValue, UnknownKey
from twinlens.service.private_database import Layout, PrivateDatabase

LONGEST_NAME = 100
"""Characters of a name."""

_LONGEST_TOKEN = 100
_UNFIT = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: control, half a surrogate pair, line and paragraph separator."""

_LAYOUT = Layout(
    application=0x544C4B59,  # "TLKY"
    version=1,
    tables="""
        CREATE TABLE keys (
            number INTEGER PRIMARY KEY,
            api_key TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            created INTEGER NOT NULL,
            revoked INTEGER,
            api_secret TEXT,
            token_sha256 BLOB UNIQUE
        );
        CREATE UNIQUE INDEX live_names ON keys (name) WHERE revoked IS NULL;
    """,
)
_COLUMNS = "api_key, name, created, revoked"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as far as it may be shown.

    Attributes:
        api_key: its id, public.
        name: what its owner calls it.
        created: UTC.
        revoked: UTC; None while it is live.
    """

    api_key: str
    name: str
    created: datetime
    revoked: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made, the only time that its token is seen.

    Attributes:
        api_key: its id, public.
        api_secret: signs JWTs (HS256).
        token: follows `Authorization: Token`; shorter than 70 characters, where clients switch to `JWT`.
        name: what its owner calls it.
    """

    api_key: str
    api_secret: str = field(repr=False)
    token: str = field(repr=False)
    name: str


class KeyStore:
    """The keys of one home folder.

    Nothing is written until the first key is made. Each call looks at the file, so that a key that
    another process makes or revokes counts at once. Threads may share a store.

    Every method raises:
        NotAStore: the file is damaged, newer than this version, or something else.
        ServiceError: it cannot be read or written, or others can read it and it is not ours to close.
    """

    def __init__(self, home: Path) -> None:
        self._file = PrivateDatabase(home / "keys.sqlite", _LAYOUT)
        self._ever = False

    def create(self, name: str) -> NewKey:
        """Make a key.

        Args:
            name: 1 to 100 characters, no control characters; no other live key may have it.

        Raises:
            InvalidValue: such a name is not served, or taken.
        """
        name = _checked_name(name)
        new = NewKey(
            api_key=str(uuid.uuid4()),
            api_secret=secrets.token_urlsafe(48),
            token=f"tl_{secrets.token_urlsafe(32)}",
            name=name,
        )
        # A name that is the id of another key would leave open which of the two `revoke` ends.
        taken = "SELECT 1 FROM keys WHERE api_key = :name OR (name = :name AND revoked IS NULL)"
        add = "INSERT INTO keys (api_key, name, created, api_secret, token_sha256) VALUES (?, ?, ?, ?, ?)"
        with self._file.change() as db:
            if db.execute(taken, {"name": name}).fetchone():
                raise InvalidValue(f"a key named {name!r} exists: choose another name, or revoke it first")
            db.execute(add, (new.api_key, name, int(time.time()), new.api_secret, _digest(new.token)))
        return new

    def list(self) -> Sequence[Key]:
        """All keys in the order they were made, revoked ones included."""
        return [_key(row) for row in self._file.rows(f"SELECT {_COLUMNS} FROM keys ORDER BY number")]

    def revoke(self, name_or_api_key: str) -> Key:
        """End a key for good and erase its secrets.

        Raises:
            UnknownKey: no live key is called that.
        """
        live = [key for key in self.list() if key.revoked is None]
        called = (name_or_api_key, _canonical(name_or_api_key))
        found = next((key for key in live if key.api_key in called or key.name in called), None)
        if found is None:
            names = ", ".join(repr(key.name) for key in live) or "none"
            raise UnknownKey(f"no live key is called {name_or_api_key!r}; there are: {names}")
        end = "UPDATE keys SET revoked = ?, api_secret = NULL, token_sha256 = NULL WHERE api_key = ?"
        now = int(time.time())
        with self._file.change() as db:
            db.execute(f"{end} AND revoked IS NULL", (now, found.api_key))
        return replace(found, revoked=_moment(now))

    def any(self) -> bool:
        """True if a key was ever made, be it revoked by now.

        From then on nobody is anonymous: revoking the last key must not open the server, nor must
        removing the file while it runs.
        """
        if not self._ever:
            self._ever = bool(self._file.rows("SELECT 1 FROM keys LIMIT 1"))
        return self._ever

    def by_token(self, token: str) -> Key | None:
        """The live key that a token belongs to."""
        if not token.isascii() or len(token) > _LONGEST_TOKEN:
            return None
        digest = _digest(token)
        live = f"SELECT {_COLUMNS}, token_sha256 FROM keys WHERE token_sha256 = ? AND revoked IS NULL"
        rows = self._file.rows(live, digest)
        return next((_key(row[:-1]) for row in rows if hmac.compare_digest(row[-1], digest)), None)

    def with_secret(self, api_key: str) -> tuple[Key, str] | None:
        """A live key and its secret, for HS256."""
        if not api_key.isascii():
            return None
        live = f"SELECT {_COLUMNS}, api_secret FROM keys WHERE api_key = ? AND revoked IS NULL"
        rows = self._file.rows(live, api_key)
        return (_key(rows[0][:-1]), str(rows[0][-1])) if rows else None

    def secret_of(self, api_key: str) -> str | None:
        """The secret of a live key."""
        found = self.with_secret(api_key)
        return found[1] if found else None

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        self._file.close()


def _checked_name(name: str) -> str:
    name = _canonical(name)
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidValue(f"the name of a key has 1 to {LONGEST_NAME} characters, not {len(name)}")
    if any(unicodedata.category(character) in _UNFIT for character in name):
        raise InvalidValue(f"the name of a key is one line of text without control characters, not {name!r}")
    return name


def _canonical(name: str) -> str:
    """Blanks around a name and the form of its accents, which nobody sees, make no difference."""
    return unicodedata.normalize("NFC", name.strip())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _key(row: tuple[str, str, int, int | None]) -> Key:
    api_key, name, created, revoked = row
    return Key(api_key, name, _moment(created), None if revoked is None else _moment(revoked))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
