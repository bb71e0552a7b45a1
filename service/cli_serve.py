"""`twinlens serve`: the server on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinlens.service import console
from twinlens.service.cli_options import HomeOption, settings_from

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; localhost.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 8000. 0 takes a free one.")] = None,
    home: HomeOption = None,
    dataset: Annotated[
        list[Path] | None,
        typer.Option("--dataset", help="A dataset to serve; may be repeated.", show_default=False),
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="Name or id of the key those datasets belong to.", show_default=False)
    ] = None,
    allow_root: Annotated[
        list[Path] | None,
        typer.Option("--allow-root", help="Folder clients may index; may be repeated.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model of datasets made over REST; auto.", show_default=False)
    ] = None,
    allow_anonymous: Annotated[
        bool | None, typer.Option("--allow-anonymous", help="Serve a public address without keys.")
    ] = None,
    allow_private_urls: Annotated[
        bool | None, typer.Option("--allow-private-urls", help="Fetch images from private addresses.")
    ] = None,
) -> None:
    """Serve datasets and image matching over REST. TWINLENS_... variables hold the other settings."""
    settings = settings_from(
        host=host,
        port=port,
        home=home,
        datasets=tuple(dataset) if dataset else None,
        owner=owner,
        allowed_roots=tuple(allow_root) if allow_root else None,
        model=model,
        allow_anonymous=allow_anonymous,
        allow_private_urls=allow_private_urls,
    )
    from twinlens.service import serving
    from twinlens.service.settings import unknown_variables

    for name in unknown_variables():
        console.print_notice(f"{name} is no setting and is ignored: service/settings.py has them all")
    serving.serve(settings)
