"""``microturn talk``: hold a recorded session turn by turn and write what the model answered."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from microturn.errors import InputError
from microturn.turn import TURN_MS, TurnInput, TurnOutput

if TYPE_CHECKING:
    from microturn.cli.transcript import Line
    from microturn.session.outputs import TurnRecord

LONG_INPUT_TURNS = 25
"""From this length on there is a progress bar."""
DEFAULT_TAIL_SECONDS = 4.0


class Talker(Protocol):
    """What answers: one turn in, one turn out."""

    def step(self, turn_input: TurnInput) -> TurnOutput:
        """Take the next turn."""
        ...


def open_talker(weights: str, seed: int) -> Talker:
    """Load ``weights`` and open a session on them. Raises ``WeightsError``."""
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import load
    from microturn.session.session import Session

    use_one_thread()
    return Session.open(load(weights), seed=seed)


@dataclass
class Pacer:
    """Holds turns to the clock: a turn can be taken once its 200 ms are over, reckoned from the start, so that
    lateness never adds up."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _start_s: float = math.nan

    def wait_for(self, turn: int) -> None:
        """Return when ``turn`` is over; at once if that is past."""
        if math.isnan(self._start_s):
            self._start_s = self.clock()
        left_s = self._start_s + (turn + 1) * TURN_MS / 1000 - self.clock()
        if left_s > 0:
            self.sleep(left_s)


def talk(
    source_path: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Any file FFmpeg reads, or a folder with user.wav and frames/.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the outputs.  [default: INPUT's name + -reply]", show_default=False)
    ] = None,
    weights: Annotated[str, typer.Option(help="Packaged name, folder, or Hugging Face repository.")] = "nano",
    text: Annotated[
        list[str] | None, typer.Option(metavar="AT_SECOND:WORDS", help="Typed input at a second; may be repeated.")
    ] = None,
    tail_seconds: Annotated[
        float, typer.Option(help="Quiet time after the end of INPUT, in which an answer can be finished.")
    ] = DEFAULT_TAIL_SECONDS,
    seed: Annotated[int, typer.Option(help="Seed of whatever is drawn at random.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a turn and nothing else.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Take turns by the clock, one every 200 ms.")] = False,
) -> None:
    """Hold a recorded session turn by turn; writes reply.wav, timeline.png, turns.jsonl and, with video, reply.mp4."""
    from microturn.media.reader import open_media
    from microturn.media.typed import parse_typed_text, session_length, session_turns, turns_of_seconds
    from microturn.session.outputs import OUTPUT_NAMES, SessionOutputs

    typed = [parse_typed_text(argument) for argument in text or []]
    tail_turns = turns_of_seconds("--tail-seconds", tail_seconds)
    source = open_media(source_path)
    folder = Path(f"{source_path.resolve().stem}-reply") if out is None else out
    if source_path.resolve().parent == folder.resolve() and source_path.name in OUTPUT_NAMES:
        raise InputError(f"{source_path}: would be replaced by an output of the same name: choose another --out")
    num_turns = session_length(source, typed, tail_turns)
    report = _JsonReport() if json else _PersonReport(realtime)
    pacer = Pacer() if realtime else None
    with SessionOutputs(folder, title=source_path.resolve().name, frame_size=source.frame_size) as outputs:
        talker = open_talker(weights, seed)
        with _progress(num_turns, shown=not json and not realtime) as advance:
            for turn, turn_input in enumerate(session_turns(source, typed, tail_turns)):
                if pacer is not None:
                    pacer.wait_for(turn)
                turn_input.check(turn)
                start_s = time.perf_counter()
                output = talker.step(turn_input)
                compute_ms = (time.perf_counter() - start_s) * 1000
                report.turn(outputs.add(turn_input, output, compute_ms))
                advance()
        paths = outputs.finish()
    report.end(paths)


@contextmanager
def _progress(num_turns: int | None, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr while the block runs, for long inputs and only on a terminal."""
    if not shown or not sys.stderr.isatty() or (num_turns is not None and num_turns < LONG_INPUT_TURNS):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[clock]}"),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("talk", total=num_turns, clock="", speed="")
        start_s = time.perf_counter()
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            seconds = done * TURN_MS / 1000
            speed = seconds / (time.perf_counter() - start_s)
            progress.update(task, advance=1, clock=f"{seconds:.1f} s", speed=f"{speed:.1f} x real time")

        yield advance


class _JsonReport:
    """One JSON object a turn on stdout, as it happens."""

    def turn(self, record: TurnRecord) -> None:
        sys.stdout.write(record.to_json().decode() + "\n")
        sys.stdout.flush()

    def end(self, paths: list[Path]) -> None:
        """Nothing: stdout holds the turns alone."""


class _PersonReport:
    """What was heard and said, then where the outputs lie and how fast it went.

    Lines come as they happen with ``live``, else at the end, when no progress bar is in the way.
    """

    def __init__(self, live: bool) -> None:
        from microturn.cli.transcript import Transcript

        self._transcript = Transcript()
        self._live = live
        if live:
            print(Transcript.heading)
        self._lines: list[Line] = []
        self._compute_ms: list[float] = []

    def turn(self, record: TurnRecord) -> None:
        self._compute_ms.append(record.compute_ms)
        self._lines += self._transcript.add(record)
        if self._live:
            self._print()

    def end(self, paths: list[Path]) -> None:
        self._lines += self._transcript.rest()
        if not self._live:
            print(self._transcript.heading)
        self._print()
        times_ms = sorted(self._compute_ms)
        seconds, compute_s = len(times_ms) * TURN_MS / 1000, sum(times_ms) / 1000
        print()
        for path in paths:
            print(path)
        p50, p99 = times_ms[len(times_ms) // 2], times_ms[len(times_ms) * 99 // 100]
        speed = seconds / max(compute_s, 1e-9)
        print(
            f"{seconds:.1f} s in {compute_s:.1f} s of compute: {speed:.1f} x real time"
            f" (a turn: p50 {p50:.1f} ms, p99 {p99:.1f} ms)"
        )

    def _print(self) -> None:
        for line in sorted(self._lines, key=lambda line: line.turn):
            print(line.text, flush=True)
        self._lines = []
