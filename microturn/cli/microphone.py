"""``microturn talk --mic``: a live session through the sound card, with a line that tells how it goes."""

from __future__ import annotations

import math
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from microturn.cli.progress import print_summary
from microturn.errors import DeviceError, InputError
from microturn.turn import TURN_MS

if TYPE_CHECKING:
    from rich.text import Text

    from microturn.engine.slots import Turn
    from microturn.media.typed import TypedText
    from microturn.session.outputs import SessionOutputs
    from microturn.session.soundcard import Loudspeaker, SoundCard

STRIP_TURNS = 25
"""Turns that the line draws: 5 s."""
KEPT_CHARACTERS = 200
LEGEND = "< you, > model, x both, _ gap"


class LiveLine:
    """What is going on, in one line: the last seconds as marks, who speaks, what turns cost, the newest words."""

    def __init__(self) -> None:
        self.num_gaps = self.num_overruns = 0
        self._marks: deque[str] = deque("." * STRIP_TURNS, maxlen=STRIP_TURNS)
        self._now_ms = 0
        self._compute_ms = 0.0
        self._who = "quiet"
        self._heard = self._said = ""

    def add(self, turn: Turn) -> None:
        """Take a turn in."""
        from microturn.session.soundcard import is_loud
        from microturn.session.timeline import printable

        given, made, tick = turn.given, turn.made, turn.tick
        is_gap, user = given.audio is None, is_loud(given) or bool(made.hear)
        self.num_gaps += is_gap
        self.num_overruns += tick.margin_ms < 0
        self._who = {(0, 0): "quiet", (1, 0): "you", (0, 1): "model", (1, 1): "both"}[user, made.speaking]
        mark = {"quiet": ".", "you": "<", "model": ">", "both": "x"}[self._who]
        self._marks.append("_" if is_gap and not made.speaking else mark)
        self._now_ms, self._compute_ms = made.t_ms + TURN_MS, tick.compute_ms
        self._heard = (self._heard + printable(made.hear))[-KEPT_CHARACTERS:]
        self._said = (self._said + printable(made.say))[-KEPT_CHARACTERS:]

    def text(self, width: int) -> Text:
        """The line, not wider than ``width``: of words the newest that fit."""
        from rich.text import Text

        styles = {"<": "cyan", ">": "green", "x": "magenta", "_": "red"}
        line = Text(f"{self._now_ms / 1000:7.1f}s ", no_wrap=True, end="")
        for mark in self._marks:
            line.append(mark, styles.get(mark, "dim"))
        figures = f" {self._who:<5} {self._compute_ms:4.0f} ms  gaps {self.num_gaps}  overruns {self.num_overruns}"
        line.append(figures, "bold red" if self._compute_ms > TURN_MS else "")
        room = max(0, width - len(line) - len("  heard:   said: ") - 1)
        line.append(f"  heard: {_newest(self._heard, room // 2)}", "cyan")
        line.append(f"  said: {_newest(self._said, room - room // 2)}", "green")
        line.truncate(width - 1)
        return line


def _newest(words: str, width: int) -> str:
    """The last whole words that are not longer than ``width`` together."""
    words = " ".join(words.split())
    while len(words) > width:
        _, _, words = words.partition(" ")
    return words


def hold_live(
    folder: Path,
    weights: str,
    seed: int,
    typed: Sequence[TypedText],
    input_device: str | None,
    output_device: str | None,
    *,
    json: bool,
) -> None:
    """A session until SIGINT or SIGTERM. Raises ``DeviceError``, ``MediaError`` and ``WeightsError``."""
    from microturn.engine.admission import Admission
    from microturn.engine.engine import Engine
    from microturn.engine.slots import End
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import load
    from microturn.session.outputs import SessionOutputs
    from microturn.session.soundcard import Loudspeaker, Microphone, SoundCard

    news: SimpleQueue[Turn | End | str] = SimpleQueue()
    """Turns, why no more come, or what ends the session."""
    microphone, loudspeaker = Microphone(typed), Loudspeaker()

    def turn_taken() -> None:
        # In the engine's thread: the voice waits for no file and no screen.
        turns, end = slot.outbox.read()
        for turn in turns:
            loudspeaker.take(turn.given, turn.made)
            news.put(turn)
        if end is not None:
            news.put(end)

    times_ms: list[float] = []
    ending = ""
    with (
        SoundCard(input_device, output_device) as card,
        SessionOutputs(folder, title="microphone", frame_size=None) as outputs,
    ):
        use_one_thread()
        model = load(weights)
        model.prepare()
        # Whoever talks to this machine alone may try, however slow it is: overruns are counted.
        engine = Engine(model, 1, admission=Admission({1: 1.0}, budget_ms=math.inf))
        slot = engine.open(microphone, turn_taken, seed=seed)
        line = LiveLine()
        with _signals(lambda: news.put("interrupted")):
            try:
                card.start(microphone, loudspeaker, lambda: news.put("gone"))
                engine.start()
                if not json:
                    print(f"{card.names['input']} -> model -> {card.names['output']}: Ctrl-C ends it; {LEGEND}")
                with _shown(line, outputs, json=json) as show:
                    while not isinstance(one := news.get(), End):
                        if isinstance(one, str):
                            ending = ending or one
                            engine.stop()
                        else:
                            show(one)
                            times_ms.append(one.tick.compute_ms)
            finally:
                engine.stop()
            paths = outputs.finish() if times_ms else []
    if not json and times_ms:
        print_summary(paths, times_ms)
        _print_troubles(line, card, loudspeaker)
    if ending == "gone":
        raise DeviceError(f"{card.names['input']}, {card.names['output']}: one of them stopped")
    if one is End.FAILED:
        raise InputError(f"turn {len(times_ms)}: the model failed")


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call ``stop`` in the block."""
    before = {kind: signal.signal(kind, lambda number, frame: stop()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def _shown(line: LiveLine, outputs: SessionOutputs, *, json: bool) -> Iterator[Callable[[Turn], None]]:
    """Gives what writes a turn and prints it: the line on a terminal, with the transcript above it."""
    from rich.console import Console
    from rich.live import Live

    from microturn.cli.transcript import Line, Transcript

    transcript = Transcript()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal and not json else None

    def print_lines(lines: list[Line]) -> None:
        for one in sorted(lines, key=lambda line: line.turn):
            if not json:
                console.print(one.text)

    def show(turn: Turn) -> None:
        record = outputs.add(turn.given, turn.made, turn.tick.compute_ms)
        line.add(turn)
        if json:
            print(record.to_json().decode(), flush=True)
        print_lines(transcript.add(record))
        if live is not None:
            live.update(line.text(console.width), refresh=True)

    if not json:
        console.print(Transcript.heading)
    if live is None:
        yield show
    else:
        with live:
            yield show
    print_lines(transcript.rest())


def _print_troubles(line: LiveLine, card: SoundCard, loudspeaker: Loudspeaker) -> None:
    """What did not go well."""
    from microturn.turn import SAMPLE_RATE_HZ

    print(f"gaps {line.num_gaps}, overruns {line.num_overruns}", end="")
    print(f", sound lost by the microphone {card.num_lost} times, voice late {loudspeaker.num_late} times", end="")
    print(f", {loudspeaker.dropped_samples * 1000 // SAMPLE_RATE_HZ} ms of it dropped where the model yielded")
