"""Keys: made, found and revoked, by several processes at once, in a file for the owner's eyes only."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue, NotAStore, ServiceError, UnknownKey
from twinlens.service.keys import KeyStore, NewKey

OTHERS = 0o077


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def keys(home: Path) -> Iterator[KeyStore]:
    with closing(KeyStore(home)) as store:
        yield store


@contextmanager
def running(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, with the imports it needs."""
    lines = (
        "import os, sys",
        "from pathlib import Path",
        "from twinlens.service.keys import KeyStore",
        "from twinlens.engine.errors import TwinLensError",
        code,
    )
    command = [sys.executable, "-c", "\n".join(lines), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def said(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}


# -- one key from beginning to end ----------------------------------------------------------------


def test_a_key_from_beginning_to_end(keys: KeyStore) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    new = keys.create("lab")
    assert new.token.startswith("tl_") and len(new.token) < 70 and len(new.api_secret) == 64
    key = keys.by_token(new.token)
    assert key is not None and (key.api_key, key.name, key.revoked) == (new.api_key, "lab", None)
    assert before <= key.created <= before + timedelta(minutes=1) and key.created.tzinfo is UTC
    assert list(keys.list()) == [key]
    assert keys.secret_of(new.api_key) == new.api_secret

    ended = keys.revoke("lab")
    assert ended.revoked is not None and ended.revoked >= key.created
    assert list(keys.list()) == [ended]
    assert keys.by_token(new.token) is None and keys.secret_of(new.api_key) is None


def test_nothing_is_written_before_the_first_key(keys: KeyStore, home: Path) -> None:
    assert not keys.any() and keys.by_token("tl_x") is None and keys.secret_of("x") is None
    assert list(keys.list()) == []
    with pytest.raises(UnknownKey, match="there are: none"):
        keys.revoke("lab")
    with pytest.raises(InvalidValue):
        keys.create("")
    assert not home.exists()


def test_who_ever_had_a_key_is_never_anonymous_again(keys: KeyStore, home: Path) -> None:
    keys.create("lab")
    keys.revoke("lab")
    assert keys.any()
    with closing(KeyStore(home)) as another:
        assert another.any()
        shutil.rmtree(home)
        assert another.any()


def test_keys_differ_in_all_that_is_secret(keys: KeyStore) -> None:
    made = [keys.create(f"key {number}") for number in range(20)]
    for part in ("api_key", "api_secret", "token"):
        assert len({getattr(new, part) for new in made}) == 20
    assert [keys.by_token(new.token) for new in made] == list(keys.list())


def test_secrets_do_not_show_in_logs(keys: KeyStore) -> None:
    new = keys.create("lab")
    assert new.token not in repr(new) and new.api_secret not in repr(new) and "lab" in repr(new)
    assert new.api_secret not in repr(keys.by_token(new.token))


@pytest.mark.parametrize(
    "token",
    ["", "tl_", "tl_nobody", "tl_\x00", "tl_\N{LATIN SMALL LETTER E WITH ACUTE}", "\udcff", "' OR 1=1 --"],
)
def test_wrong_tokens(keys: KeyStore, token: str) -> None:
    new = keys.create("lab")
    assert keys.by_token(token) is None and keys.secret_of(token) is None
    for near in (new.token[:-1], new.token + " ", new.token.upper(), new.token * 100_000):
        assert keys.by_token(near) is None


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["x'; DROP TABLE keys; --", '"%_*', "\N{GRINNING FACE} 東京", "[bold]x", "a" * 100, "-", "NULL", "?1"],
)
def test_any_line_of_text_is_a_name(keys: KeyStore, name: str) -> None:
    new, other = keys.create(name), keys.create("other")
    assert [key.name for key in keys.list()] == [name, "other"]
    assert keys.revoke(name).api_key == new.api_key
    assert keys.by_token(other.token) is not None


@pytest.mark.parametrize(
    "name", ["", "  ", "a" * 101, "a\nb", "a\x00b", "a\x1b[31m", "\udcff", "a\u2028b", "a\u2029b"]
)
def test_names_that_are_refused(keys: KeyStore, name: str) -> None:
    with pytest.raises(InvalidValue, match="the name of a key"):
        keys.create(name)


def test_a_name_belongs_to_one_live_key(keys: KeyStore) -> None:
    first = keys.create("caf\u00e9")
    for same in ("caf\u00e9", " cafe\u0301 "):
        with pytest.raises(InvalidValue, match="exists"):
            keys.create(same)
    with pytest.raises(InvalidValue, match="exists"):
        keys.create(first.api_key)
    assert keys.revoke("cafe\u0301").api_key == first.api_key
    second = keys.create("caf\u00e9")
    assert [key.api_key for key in keys.list()] == [first.api_key, second.api_key]
    assert keys.revoke(second.api_key).name == "caf\u00e9"


def test_an_unknown_key_is_told_what_there_is(keys: KeyStore) -> None:
    keys.create("lab")
    keys.create("shop")
    keys.create("gone")
    revoked = keys.revoke("gone")
    for name in ("lap", "gone", revoked.api_key, "\udcff"):
        with pytest.raises(UnknownKey) as caught:
            keys.revoke(name)
        assert f"{name!r}; there are: 'lab', 'shop'" in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), max_size=8))
def test_what_is_made_is_what_is_listed(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    made: list[NewKey] = []
    with closing(KeyStore(tmp_path_factory.mktemp("keys"))) as keys:
        for name in names:
            try:
                made.append(keys.create(name))
            except InvalidValue:
                continue
        assert [(key.api_key, key.name) for key in keys.list()] == [(new.api_key, new.name) for new in made]
        assert len({new.name for new in made}) == len(made)


# -- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_any_file_at_any_time(tmp_path: Path, umask: int) -> None:
    code = (
        f"os.umask({umask})\n"
        "KeyStore(Path(sys.argv[1])).create('lab')\n"
        "import sqlite3; db = sqlite3.connect(Path(sys.argv[1]) / 'keys.sqlite')\n"
        "db.execute('UPDATE keys SET created = created + 1')\n"
        "print('changing', flush=True); sys.stdin.readline()\n"
    )
    home = tmp_path / "new" / "home"
    with running(code, home) as process:
        assert heard(process) == "changing"
        assert modes(home) == {"home": 0o700, "keys.sqlite": 0o600, "keys.sqlite-journal": 0o600}
        said(process)
    assert set(modes(home)) == {"home", "keys.sqlite"}


def test_a_file_that_others_can_read_is_closed_to_them(keys: KeyStore, home: Path) -> None:
    new = keys.create("lab")
    (home / "keys.sqlite").chmod(0o666)
    assert keys.by_token(new.token) is not None
    assert not (home / "keys.sqlite").stat().st_mode & OTHERS


def test_tokens_and_ended_secrets_are_not_on_disk(keys: KeyStore, home: Path) -> None:
    made = [keys.create(f"key {number}") for number in range(50)]
    held = b"".join(path.read_bytes() for path in home.iterdir())
    assert all(new.token.encode() not in held and new.token[3:].encode() not in held for new in made)
    assert all(new.api_secret.encode() in held for new in made)
    for new in made[::2]:
        keys.revoke(new.name)
    held = b"".join(path.read_bytes() for path in home.iterdir())
    assert [new.api_secret.encode() in held for new in made] == [False, True] * 25


def test_a_file_that_is_replaced_counts_at_once(keys: KeyStore, home: Path, tmp_path: Path) -> None:
    old = keys.create("lab")
    with closing(KeyStore(tmp_path / "copy")) as other:
        new = other.create("lab")
    os.replace(tmp_path / "copy" / "keys.sqlite", home / "keys.sqlite")
    assert keys.by_token(old.token) is None and keys.secret_of(new.api_key) == new.api_secret


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def scribbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def hollowed(path: Path) -> None:
    """The page of the table says that it holds no rows; the pages of its indexes know better."""
    data = bytearray(path.read_bytes())
    data[4096 + 3 : 4096 + 5] = b"\0\0"
    path.write_bytes(data)


def not_sqlite(path: Path) -> None:
    path.write_text("api_key,token\n" * 1000)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE keys (api_key TEXT)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


def without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE keys")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "harm",
    [truncated, emptied, scribbled, hollowed, not_sqlite, foreign, newer, without_tables, a_folder],
    ids=lambda harm: str(harm.__name__),
)
def test_a_harmed_file_never_reads_as_no_keys(home: Path, harm: Callable[[Path], None]) -> None:
    with closing(KeyStore(home)) as keys:
        new = keys.create("lab")
    harm(home / "keys.sqlite")
    with closing(KeyStore(home)) as keys:
        for call in (
            keys.any,
            keys.list,
            lambda: keys.by_token(new.token),
            lambda: keys.secret_of(new.api_key),
            lambda: keys.create("shop"),
            lambda: keys.revoke("lab"),
        ):
            with pytest.raises(NotAStore, match=r"keys\.sqlite"):
                call()


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with closing(KeyStore(tmp_path / "home")) as keys:
        for call in (keys.any, lambda: keys.create("lab")):
            with pytest.raises(ServiceError, match="cannot be used"):
                call()


@pytest.mark.parametrize(
    ("mode_of_home", "mode_of_file", "call", "words"),
    [
        (0o000, 0o600, "any()", "cannot be used (Permission denied): run as the owner"),
        (0o755, 0o600, "any()", "cannot be used (Permission denied): run as the owner"),
        (0o755, 0o600, "create('b')", "cannot be used (Permission denied): run as the owner"),
        (0o755, 0o644, "any()", "others can read it, and this process cannot change that"),
        (0o555, None, "create('b')", "cannot be used (Permission denied): run as the owner"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_stranger_is_told_what_is_in_the_way(
    tmp_path: Path, mode_of_home: int, mode_of_file: int | None, call: str, words: str
) -> None:
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    if mode_of_file is not None:
        with closing(KeyStore(home)) as keys:
            keys.create("lab")
        (home / "keys.sqlite").chmod(mode_of_file)
    home.chmod(mode_of_home)
    # A stranger cannot reach the folder of root's tests from above, but may stand in it already.
    code = (
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        f"try: KeyStore(Path('home')).{call}\n"
        "except TwinLensError as error: print(type(error).__name__, error)"
    )
    with running(code, tmp_path) as process:
        answer = said(process)
    assert answer.startswith("ServiceError ") and words in answer


# -- several processes ----------------------------------------------------------------------------


def test_a_running_process_sees_what_another_does(home: Path) -> None:
    code = (
        "keys = KeyStore(Path(sys.argv[1]))\n"
        "print(keys.any(), flush=True)\n"
        "for line in sys.stdin:\n"
        "    key = keys.by_token(line.strip())\n"
        "    print(keys.any(), key and key.name, flush=True)\n"
    )
    with running(code, home) as server, closing(KeyStore(home)) as keys:

        def asked(token: str) -> str:
            tell(server, token)
            return heard(server)

        assert heard(server) == "False" and asked("tl_x") == "False None"
        first = keys.create("lab")
        assert asked(first.token) == "True lab"
        second = keys.create("shop")
        keys.revoke("lab")
        assert [asked(first.token), asked(second.token)] == ["True None", "True shop"]
        shutil.rmtree(home)
        assert asked(second.token) == "True None"
        third = keys.create("again")
        assert [asked(second.token), asked(third.token)] == ["True None", "True again"]


def test_eight_processes_make_the_first_keys_together(home: Path) -> None:
    code = (
        "keys = KeyStore(Path(sys.argv[1]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for number in range(5):\n"
        "    print(keys.create(f'{sys.argv[2]}-{number}').token)\n"
        "try: print('same', keys.create('same').token)\n"
        "except TwinLensError: pass\n"
    )
    with ExitStack() as stack:
        processes = [stack.enter_context(running(code, home, str(number))) for number in range(8)]
        assert [heard(process) for process in processes] == ["ready"] * 8
        for process in processes:
            tell(process)
        lines = [line for process in processes for line in said(process).splitlines()]
    tokens = [line for line in lines if not line.startswith("same")]
    assert len(lines) - len(tokens) == 1
    with closing(KeyStore(home)) as keys:
        assert len(keys.list()) == 41
        found = [key and key.name for key in map(keys.by_token, tokens)]
    assert found == [f"{process}-{number}" for process in range(8) for number in range(5)]
    assert set(modes(home)) == {"home", "keys.sqlite"}


def test_a_key_that_was_handed_out_survives_a_kill(home: Path) -> None:
    code = (
        "keys = KeyStore(Path(sys.argv[1]))\n"
        "for number in range(10**6):\n"
        "    print(keys.create(str(number)).token, flush=True)\n"
    )
    with running(code, home) as process:
        tokens = [heard(process) for _ in range(5)]
        process.kill()
        assert process.stdout is not None
        tokens += [line.strip() for line in process.stdout if line.endswith("\n")]
    with closing(KeyStore(home)) as keys:
        assert all(keys.by_token(token) for token in tokens)
        keys.create("next")


def test_threads_share_a_store(keys: KeyStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(keys.create, (f"key {number}" for number in range(16))))
        found = list(pool.map(keys.by_token, [new.token for new in made] * 20))
    assert [key.name for key in found if key] == [f"key {number}" for number in range(16)] * 20
