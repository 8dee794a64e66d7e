"""``microturn connect``: hold a recorded session with a running server, or many at once to see what it carries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microturn.cli.talk import DEFAULT_TAIL_SECONDS
from microturn.errors import InputError

if TYPE_CHECKING:
    from microturn.server.client import Measured, Sent
    from microturn.turn import TurnInput, TurnOutput

STAGGER_SECONDS = 0.07
"""Sessions of a load begin so far apart, so that they do not all speak at the same moment of their turns."""


def connect(
    url: Annotated[str, typer.Argument(metavar="URL", help="What microturn serve printed: http://127.0.0.1:8000.")],
    source_path: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Any file FFmpeg reads, or a folder with user.wav and frames/.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the outputs (default: INPUT's name + -reply).", show_default=False)
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="AT_SECOND:WORDS", help="Typed input at a second; may be repeated.")
    ] = None,
    tail_seconds: Annotated[float, typer.Option(help="Quiet time after the end of INPUT.")] = DEFAULT_TAIL_SECONDS,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of whatever is drawn at random.")] = 0,
    sessions: Annotated[
        int, typer.Option(min=1, max=512, help="So many sessions at once: then only figures are given, no files.")
    ] = 1,
    api_key: Annotated[
        str | None, typer.Option(envvar="MICROTURN_API_KEY", help="Key for a server that wants one.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="File of the certificate to trust, if it is signed by nobody known.")
    ] = None,
) -> None:
    """Play INPUT to a running server in real time; writes what talk writes, prints how quickly it answered."""
    import asyncio

    from microturn.media.reader import open_media
    from microturn.media.typed import parse_typed_text, session_turns, turns_of_seconds
    from microturn.server.client import Sent, socket_address
    from microturn.session.outputs import OUTPUT_NAMES

    socket_address(url)
    if certificate is not None and not certificate.is_file():
        raise InputError(f"{certificate}: no such certificate")
    typed = [parse_typed_text(argument) for argument in text or []]
    tail_turns = turns_of_seconds("--tail-seconds", tail_seconds)
    folder = Path(f"{source_path.resolve().stem}-reply") if out is None else out
    if source_path.resolve().parent == folder.resolve() and source_path.name in OUTPUT_NAMES:
        raise InputError(f"{source_path}: would be replaced by an output of the same name: choose another --out")
    source = open_media(source_path)
    sent = [Sent.of(turn_input) for turn_input in session_turns(source, typed, tail_turns)]
    trusted = None if certificate is None else str(certificate)
    if sessions == 1:
        conversation = _converse(url, api_key, trusted, sent, seed, folder, source_path.resolve().name)
        _print_figures([asyncio.run(conversation)])
    else:
        _print_figures(asyncio.run(_load(url, api_key, trusted, sent, seed, sessions)))


async def _converse(
    url: str, api_key: str | None, certificate: str | None, sent: list[Sent], seed: int, folder: Path, title: str
) -> Measured:
    """One session with its outputs. Raises ``ServerError``."""
    from microturn.cli.transcript import Transcript
    from microturn.errors import ServerError
    from microturn.media.wire import decode_picture
    from microturn.server.client import Player, connected
    from microturn.session.outputs import SessionOutputs

    transcript = Transcript()
    picture = next((decode_picture(one.picture) for one in sent if one.picture is not None), None)
    frame_size = None if picture is None else (picture.shape[1], picture.shape[0])
    with SessionOutputs(folder, title=title, frame_size=frame_size) as outputs:

        def take(given: TurnInput, output: TurnOutput, compute_ms: float) -> None:
            for line in transcript.add(outputs.add(given, output, compute_ms)):
                print(line.text, flush=True)

        async with connected(url, api_key, certificate) as client:
            print(Transcript.heading)
            measured = await Player(sent, take, _warn).run(client, seed)
            if measured.refused:
                raise ServerError(measured.refused)
        paths = outputs.finish()
    for line in transcript.rest():
        print(line.text)
    print("", *paths, sep="\n")
    return measured


async def _load(
    url: str, api_key: str | None, certificate: str | None, sent: list[Sent], seed: int, sessions: int
) -> list[Measured]:
    """Many sessions at once, with seeds from ``seed`` on. Raises ``ServerError`` if one of them fails."""
    import asyncio

    from microturn.server.client import Player, connected

    async def hold(index: int) -> Measured:
        await asyncio.sleep(index * STAGGER_SECONDS)
        async with connected(url, api_key, certificate) as client:
            return await Player(sent, warn=_warn).run(client, (seed + index) % 2**31)

    return await asyncio.gather(*(hold(index) for index in range(sessions)))


def _warn(line: str) -> None:
    print(f"microturn: {line}", file=sys.stderr)


def _print_figures(sessions: list[Measured]) -> None:
    """How quickly the server answered, and whether it kept its deadline."""
    refused = [one for one in sessions if one.refused]
    compute_ms = [value for one in sessions for value in one.compute_ms]
    if refused:
        print(f"{len(refused)} of {len(sessions)} sessions refused: {refused[0].refused}")
    if not compute_ms:
        return
    held = len(sessions) - len(refused)
    missed, gaps = sum(one.num_missed for one in sessions), sum(one.num_gaps for one in sessions)
    print(f"{held} {'session' if held == 1 else 'sessions'}, {len(compute_ms)} turns")
    print(f"tick compute     p50 {_quantile(compute_ms, 0.5):6.1f} ms  p99 {_quantile(compute_ms, 0.99):6.1f} ms")
    # The quickest turn of a session is taken as delivered at once: the two clocks are not the same.
    late_ms = [value - min(one.delivery_ms) for one in sessions for value in one.delivery_ms]
    print(f"delivery jitter  p50 {_quantile(late_ms, 0.5):6.1f} ms  p99 {_quantile(late_ms, 0.99):6.1f} ms")
    print(f"deadline misses  {missed} of {len(compute_ms)} turns; gaps {gaps}")
    reply_ms = [value for one in sessions for value in one.reply_ms]
    overlaps = sum(one.num_overlaps for one in sessions)
    if overlaps:
        print(f"begun to speak while the user did: {overlaps} times")
    if reply_ms:
        p50_s, p95_s = _quantile(reply_ms, 0.5) / 1000, _quantile(reply_ms, 0.95) / 1000
        print(f"end of words to first sound  p50 {p50_s:.2f} s  p95 {p95_s:.2f} s ({len(reply_ms)} replies)")


def _quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
