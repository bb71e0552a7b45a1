"""`twinlens keys` and the settings behind it, driven as an operator drives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers import running_server
from twinlens.service.keys import KeyStore
from twinlens.service.matching.examples import REQUESTS


def twinlens(*arguments: str | Path, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    command = [sys.executable, "-c", "from twinlens.service.cli import main; main()", *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINLENS_")}
    run = subprocess.run(
        command, capture_output=True, text=True, env=kept | dict(environment or {}), timeout=60
    )
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout if code == 0 else run.stderr


def answer(*arguments: str | Path, **environment: str) -> Any:
    return json.loads(twinlens(*arguments, "--json", environment=environment))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_key_from_beginning_to_end(home: Path) -> None:
    made = answer("keys", "create", "--name", "lab", "--home", home)
    assert set(made) == {"api_key", "api_secret", "token"}
    with closing(KeyStore(home)) as keys:
        key = keys.by_token(made["token"])
        assert key is not None and (key.api_key, key.name) == (made["api_key"], "lab")
        assert keys.secret_of(made["api_key"]) == made["api_secret"]

        (listed,) = answer("keys", "list", "--home", home)["keys"]
        assert (listed["api_key"], listed["name"], listed["revoked"]) == (made["api_key"], "lab", None)
        assert datetime.fromisoformat(listed["created"]) == key.created

        ended = answer("keys", "revoke", "lab", "--home", home)
        assert ended["revoked"] is not None and keys.by_token(made["token"]) is None
        assert answer("keys", "list", "--home", home)["keys"] == [ended]
        assert datetime.fromisoformat(ended["revoked"]).tzinfo == UTC


def test_people_read_lines(home: Path) -> None:
    assert twinlens("keys", "list", "--home", home) == "no keys\n"
    made = twinlens("keys", "create", "--name", "[bold]東京", "--home", home)
    assert "this once" in made and "[bold]東京" in made
    shown = dict(line.split() for line in made.splitlines()[1:])
    assert set(shown) == {"api_key", "api_secret", "token"}
    (listed,) = twinlens("keys", "list", "--home", home).splitlines()
    assert shown["api_key"] in listed and "live" in listed and listed.endswith("[bold]東京")
    assert not any(shown[part] in listed for part in ("api_secret", "token"))
    assert "is revoked" in twinlens("keys", "revoke", shown["api_key"], "--home", home)
    assert "revoked 2" in twinlens("keys", "list", "--home", home)


def test_home_comes_from_the_option_or_else_from_the_environment(tmp_path: Path) -> None:
    variable = {"TWINLENS_HOME": str(tmp_path / "a")}
    answer("keys", "create", "--name", "first", **variable)
    answer("keys", "create", "--name", "second", "--home", tmp_path / "b", **variable)
    answer("keys", "create", "--name", "third", XDG_DATA_HOME=str(tmp_path / "c"))
    for folder, name in (("a", "first"), ("b", "second"), ("c/twinlens", "third")):
        (key,) = answer("keys", "list", "--home", tmp_path / folder)["keys"]
        assert key["name"] == name


def test_exit_codes_tell_wrong_input_from_a_wrong_state(home: Path) -> None:
    answer("keys", "create", "--name", "lab", "--home", home)
    assert "exists" in twinlens("keys", "create", "--name", "lab", "--home", home, code=2)
    assert "1 to 100" in twinlens("keys", "create", "--name", " ", "--home", home, code=2)
    assert "--name" in twinlens("keys", "create", "--home", home, code=2)
    unknown = twinlens("keys", "revoke", "shop", "--home", home, code=6)
    assert unknown == "error: no live key is called 'shop'; there are: 'lab'\n"
    (home / "keys.sqlite").write_text("something else")
    assert "keys.sqlite" in twinlens("keys", "list", "--home", home, code=6)
    assert "cannot be used" in twinlens("keys", "list", "--home", home / "keys.sqlite", code=6)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (
            ["keys", "list"],
            {"TWINLENS_PORT": "abc"},
            "TWINLENS_PORT is 'abc': input should be a valid integer",
        ),
        (["serve"], {"TWINLENS_PORT": "70000"}, "TWINLENS_PORT is '70000': input should be less than"),
        (["serve", "--port", "70000"], {"TWINLENS_PORT": "80"}, "--port is '70000': input should be less"),
        (["serve"], {"TWINLENS_ALLOW_ANONYMOUS": "perhaps"}, "TWINLENS_ALLOW_ANONYMOUS is 'perhaps'"),
        (["serve"], {"TWINLENS_DISTANCE_UNIT": "cm"}, "input should be 'percent' or 'bits'"),
    ],
)
def test_a_setting_that_is_off_is_named_in_one_line(
    arguments: list[str], environment: dict[str, str], words: str
) -> None:
    said = twinlens(*arguments, code=2, environment=environment)
    assert said.startswith("error: ") and said.count("\n") == 1 and words in said


def test_all_settings_that_are_off_are_named() -> None:
    said = twinlens("serve", code=2, environment={"TWINLENS_PORT": "abc", "TWINLENS_WORKERS": "0"})
    assert "TWINLENS_PORT" in said and "TWINLENS_WORKERS" in said


def test_the_first_key_can_take_over_what_was_stored_without_one(home: Path) -> None:
    with running_server(home) as server:
        server.post("insert", REQUESTS["insert"])
        strange = answer("keys", "create", "--name", "strange", "--home", home)
        heir = answer("keys", "create", "--name", "heir", "--adopt", "--home", home)
        counts = [
            server.post("allRecords", {}, headers={"Authorization": f"Token {key['token']}"}).json()[
                "answer_count"
            ]
            for key in (strange, heir)
        ]
    assert counts == [0, 1]
