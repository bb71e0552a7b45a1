"""`twinlens keys`: make, list and revoke API keys. A server that runs sees each change at once."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from twinlens.service import console, output
from twinlens.service.auth import ANONYMOUS
from twinlens.service.cli_options import HomeOption, JsonOption, settings_from
from twinlens.service.database import Database
from twinlens.service.explore.datasets import DatasetStore
from twinlens.service.explore.layout import LAYOUT
from twinlens.service.keys import Key, KeyStore
from twinlens.service.matching.collections import CollectionStore
from twinlens.service.settings import Settings

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="What you call it.", show_default=False)],
    home: HomeOption = None,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Give it the datasets and collections that were made without a key."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, its secret and its token, this once."""
    with _keys(home) as keys:
        new = keys.create(name)
    if adopt:
        _adopt(settings_from(home=home), new.api_key)
    if json:
        document = {"api_key": new.api_key, "api_secret": new.api_secret, "token": new.token}
        output.write_json(document, sys.stdout.buffer)
    else:
        console.print_new_key(new)


@app.command("list")
def list_keys(home: HomeOption = None, json: JsonOption = False) -> None:
    """List all keys, revoked ones included, without their secrets."""
    with _keys(home) as keys:
        found = keys.list()
    if json:
        output.write_json({"keys": [_document(key) for key in found]}, sys.stdout.buffer)
    else:
        console.print_keys(found)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its name or its api_key.", show_default=False)],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """End a key for good."""
    with _keys(home) as keys:
        ended = keys.revoke(key)
    if json:
        output.write_json(_document(ended), sys.stdout.buffer)
    else:
        console.print_revoked(ended)


def _adopt(settings: Settings, owner: str) -> None:
    if settings.collections_file.exists():
        store = CollectionStore(settings.collections_file, max_records=settings.max_collection_records)
        with closing(store):
            store.adopt(ANONYMOUS, owner)
    if settings.datasets_file.exists():
        with closing(Database(settings.datasets_file, LAYOUT)) as database:
            DatasetStore(database).adopt(ANONYMOUS, owner)


def _keys(home: Path | None) -> closing[KeyStore]:
    return closing(KeyStore(settings_from(home=home).home))


def _document(key: Key) -> dict[str, Any]:
    return {
        "api_key": key.api_key,
        "name": key.name,
        "created": key.created.isoformat(),
        "revoked": None if key.revoked is None else key.revoked.isoformat(),
    }
