"""The ``microturn`` command.

Each command is a function, or a typer application of its own, in a module of this package; ``COMMANDS`` names them.
Only the module of the command that is called is imported. A module imports what is heavy (torch, PyAV) inside its
functions, so that ``microturn --help``, which lists them all, answers at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from microturn.errors import MicroturnError

COMMANDS = {
    "talk": "microturn.cli.talk:talk",
    "serve": "microturn.cli.serve:serve",
    "connect": "microturn.cli.connect:connect",
    "replay": "microturn.cli.replay:replay",
    "info": "microturn.cli.info:info",
    "check": "microturn.cli.check:check",
    "background": "microturn.cli.background:background",
    "scenario": "microturn.cli.scenario:scenario",
    "train": "microturn.cli.train:train",
    "bench": "microturn.cli.bench:app",
}
"""Command name -> ``module:attribute`` of its function or ``typer.Typer``, in the order of ``--help``."""


def build_app(called: str | None = None) -> typer.Typer:
    """The application with the command ``called``, or with all commands if there is none of that name."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name in [called] if called in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name)(target)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"microturn {version('microturn')}")
        raise typer.Exit()


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """An open interaction model: listens, watches, reads, speaks and writes in micro-turns of 200 ms."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 2, after one line on stderr, for whatever a user can put right."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        build_app(words[0] if words else None)(args=words, prog_name="microturn")
    except MicroturnError as error:
        print(f"microturn: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0
