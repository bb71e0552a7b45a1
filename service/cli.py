"""The command line.

Exit codes: 0 done, also when single files failed; 2 the input is off; 3 `leaks` found some; 4 the model, its
weights or the device; 5 the dataset folder; 6 the service: its address, its keys, what it remembers;
130 interrupted (run the same command again to resume).
"""

from __future__ import annotations

import sys

import typer

from twinlens.engine.errors import DatasetError, InputError, ModelError, ServiceError, TwinLensError
from twinlens.service import cli_calibrate, cli_curate, cli_images, cli_keys, cli_leaks, cli_serve, console
from twinlens.service.cli_options import (
    EXIT_DATASET,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_MODEL,
    EXIT_SERVICE,
)

app = typer.Typer(
    name="twinlens",
    help="Find twins in image collections.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_images.app)
app.add_typer(cli_curate.app)
app.add_typer(cli_leaks.app)
app.add_typer(cli_calibrate.app)
app.add_typer(cli_serve.app)
app.add_typer(cli_keys.app, name="keys")


def main() -> None:
    """Run the command line; errors become one line on standard error and an exit code."""
    try:
        app()
    except TwinLensError as error:
        console.print_error(error)
        raise SystemExit(_exit_code(error)) from None
    except KeyboardInterrupt:
        console.print_notice("interrupted: run the same command again to go on where it stopped")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read the output has enough; closing stderr as well keeps Python from complaining at exit.
        sys.stderr.close()
        raise SystemExit(0) from None


def _exit_code(error: TwinLensError) -> int:
    codes = {
        InputError: EXIT_INPUT,
        ModelError: EXIT_MODEL,
        DatasetError: EXIT_DATASET,
        ServiceError: EXIT_SERVICE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 1)
