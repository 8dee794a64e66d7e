"""A progress bar while a command works, and how fast it went."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from microturn.turn import TURN_MS


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


def print_summary(paths: list[Path], times_ms: list[float]) -> None:
    """Where the outputs lie and how fast it went."""
    times_ms = sorted(times_ms)
    seconds, compute_s = len(times_ms) * TURN_MS / 1000, sum(times_ms) / 1000
    p50, p99 = times_ms[len(times_ms) // 2], times_ms[len(times_ms) * 99 // 100]
    print("", *paths, sep="\n")
    print(
        f"{seconds:.1f} s in {compute_s:.1f} s of compute: {seconds / max(compute_s, 1e-9):.1f} x real time"
        f" (a turn: p50 {p50:.1f} ms, p99 {p99:.1f} ms)"
    )
