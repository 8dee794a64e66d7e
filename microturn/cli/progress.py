"""A progress bar while a command works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str, total: float | None, *, shown: bool = True) -> Iterator[Callable[..., None]]:
    """A bar on stderr while the block runs, on a terminal only.

    Gives ``advance(title)``, to be called when one more of ``total`` (``None``: nobody knows) is done; without a title
    the last one stays.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda title=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda title=None: bar.update(task, advance=1, description=title)
