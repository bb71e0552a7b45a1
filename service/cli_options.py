"""What several commands of the command line share: options, exit codes, and settings from both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlens.engine.errors import InvalidValue

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from twinlens.service.settings import Settings

EXIT_INPUT, EXIT_LEAKS, EXIT_MODEL, EXIT_DATASET, EXIT_SERVICE, EXIT_INTERRUPTED = 2, 3, 4, 5, 6, 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of keys and collections; TWINLENS_HOME.", show_default=False),
]


def settings_from(**options: Any) -> Settings:
    """The settings: options that were given, then the environment, then defaults.

    Args:
        options: by field of `Settings`; None means not given.

    Raises:
        InvalidValue: one of them is off; the message names the option or the variable.
    """
    from pydantic import ValidationError

    from twinlens.service.settings import Settings

    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise InvalidValue("; ".join(_complaint(found, given) for found in error.errors())) from error


def _complaint(found: ErrorDetails, given: dict[str, Any]) -> str:
    """One broken rule, said of the option or the variable that broke it."""
    field = ".".join(map(str, found["loc"]))
    source = f"--{field.replace('_', '-')}" if field in given else f"TWINLENS_{field.upper()}"
    return f"{source} is {str(found['input'])!r}: {found['msg'][0].lower()}{found['msg'][1:]}"
