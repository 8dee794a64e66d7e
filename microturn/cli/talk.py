"""``microturn talk``: hold a session turn by turn and write what the model answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microturn.cli.progress import print_summary, progress
from microturn.errors import InputError
from microturn.turn import TURN_MS

if TYPE_CHECKING:
    from microturn.cli.transcript import Line
    from microturn.media.typed import TypedText
    from microturn.session.session import Session

LONG_INPUT_TURNS = 25
"""From this length on there is a progress bar."""
DEFAULT_TAIL_SECONDS = 4.0


def open_talker(weights: str, seed: int) -> Session:
    """Load ``weights`` and open a session on them. Raises ``WeightsError``."""
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import load
    from microturn.session.session import Session

    use_one_thread()
    return Session.open(load(weights), seed=seed)


class Pacer:
    """Holds turns to the clock: a turn can be taken once its 200 ms are over, reckoned from the start, so that
    lateness never adds up."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._start_s = clock()

    def wait_for(self, turn: int) -> None:
        """Return when ``turn`` is over; at once if that is past."""
        left_s = self._start_s + (turn + 1) * TURN_MS / 1000 - self._clock()
        if left_s > 0:
            self._sleep(left_s)


def talk(
    source_path: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="Any file FFmpeg reads, or a folder with user.wav and frames/."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the outputs (default: INPUT's name + -reply).", show_default=False)
    ] = None,
    weights: Annotated[str, typer.Option(help="Packaged name, folder, or Hugging Face repository.")] = "nano",
    text: Annotated[
        list[str] | None, typer.Option(metavar="AT_SECOND:WORDS", help="Typed input at a second; may be repeated.")
    ] = None,
    tail_seconds: Annotated[
        float, typer.Option(help="Quiet time after the end of INPUT, in which an answer can be finished.")
    ] = DEFAULT_TAIL_SECONDS,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of whatever is drawn at random.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a turn and nothing else.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Take turns by the clock, one every 200 ms.")] = False,
    mic: Annotated[
        bool,
        typer.Option("--mic", help="Talk through the sound card, in place of INPUT, until Ctrl-C; use headphones."),
    ] = False,
    input_device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Microphone for --mic: a number, or part of its name.")
    ] = None,
    output_device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Loudspeaker for --mic: a number, or part of its name.")
    ] = None,
) -> None:
    """Hold a session turn by turn, recorded or (--mic) live; writes reply.wav, timeline.png, turns.jsonl and, with
    video, reply.mp4."""
    from microturn.media.typed import parse_typed_text, turns_of_seconds

    typed = [parse_typed_text(argument) for argument in text or []]
    tail_turns = turns_of_seconds("--tail-seconds", tail_seconds)
    if mic:
        if source_path is not None:
            raise InputError(f"{source_path}: --mic takes the place of INPUT, give one of both")
        from microturn.cli.microphone import hold_live

        hold_live(out or Path("microphone-reply"), weights, seed, typed, input_device, output_device, json=json)
    elif source_path is None:
        raise InputError("INPUT is missing: a file or a folder, or --mic for the sound card")
    elif input_device is not None or output_device is not None:
        raise InputError("--input-device and --output-device belong to --mic")
    else:
        _hold_recorded(source_path, out, weights, typed, tail_turns, seed, json=json, realtime=realtime)


def _hold_recorded(
    source_path: Path,
    out: Path | None,
    weights: str,
    typed: Sequence[TypedText],
    tail_turns: int,
    seed: int,
    *,
    json: bool,
    realtime: bool,
) -> None:
    """The session of a file. Raises ``MediaError``, ``InputError`` and ``WeightsError``."""
    from microturn.cli.transcript import Transcript
    from microturn.media.reader import open_media
    from microturn.media.typed import session_length, session_turns
    from microturn.session.outputs import OUTPUT_NAMES, SessionOutputs

    source = open_media(source_path)
    folder = Path(f"{source_path.resolve().stem}-reply") if out is None else out
    if source_path.resolve().parent == folder.resolve() and source_path.name in OUTPUT_NAMES:
        raise InputError(f"{source_path}: would be replaced by an output of the same name: choose another --out")
    num_turns = session_length(source, typed, tail_turns)
    is_long = num_turns is None or num_turns >= LONG_INPUT_TURNS
    transcript = Transcript()
    lines: list[Line] = []
    times_ms: list[float] = []
    if realtime and not json:
        print(Transcript.heading)
    with SessionOutputs(folder, title=source_path.resolve().name, frame_size=source.frame_size) as outputs:
        session = open_talker(weights, seed)
        pacer = Pacer() if realtime else None
        begun_s = time.perf_counter()
        with progress("", num_turns, shown=is_long and not json and not realtime) as advance:
            for turn, turn_input in enumerate(session_turns(source, typed, tail_turns)):
                if pacer is not None:
                    pacer.wait_for(turn)
                turn_input.check(turn)
                start_s = time.perf_counter()
                output = session.step(turn_input)
                times_ms.append((time.perf_counter() - start_s) * 1000)
                record = outputs.add(turn_input, output, times_ms[-1])
                if json:
                    print(record.to_json().decode(), flush=True)
                else:
                    lines += transcript.add(record)
                if realtime:
                    _print_lines(lines)
                seconds = len(times_ms) * TURN_MS / 1000
                advance(f"{seconds:.1f} s, {seconds / (time.perf_counter() - begun_s):.1f} x real time")
        paths = outputs.finish()
    if not json:
        if not realtime:
            print(Transcript.heading)
        _print_lines(lines + transcript.rest())
        print_summary(paths, times_ms)


def _print_lines(lines: list[Line]) -> None:
    """Print ``lines`` in the order of the clock, and forget them."""
    for line in sorted(lines, key=lambda line: line.turn):
        print(line.text, flush=True)
    lines.clear()
