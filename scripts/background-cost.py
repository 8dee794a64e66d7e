"""What the background model costs the conversation: turns while four jobs stream against turns without, and packages.

    .venv/bin/python scripts/background-cost.py [MINUTES]

A session with sound takes turns in real time, in stretches of ``STRETCH_TURNS`` with and without jobs, one after the
other, so that whatever else the machine does slows both alike. Packages are those of a session that has talked for ten
minutes and shows pictures: ``tick`` is what the session's thread spends on one, ``made`` when it is there.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator

import numpy as np

from microturn import load
from microturn.background.job import Budget, Corrections
from microturn.background.office import MAX_RUNNING, Desk, Office, Packed
from microturn.background.package import ContextPackage
from microturn.background.results import Result, Spoken
from microturn.model.microturn import use_one_thread
from microturn.session.context import Context
from microturn.session.playback import Playback
from microturn.session.session import Session
from microturn.turn import TURN_MS, TURN_SAMPLES, TextIn, TextSource, TurnInput, TurnOutput

STRETCH_TURNS = 25
PIECES_A_SECOND = 20
PACKAGES = 40
TALK_TURNS = 3000


class Streamer:
    """Says a few words, many times a second, until it is cancelled: as fast as a language model writes."""

    async def work(self, package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        while True:
            yield Spoken("one more word of it")
            await asyncio.sleep(1 / PIECES_A_SECOND)


def talked(num_turns: int) -> Context:
    """The context of a session in which both have talked for so many turns, with pictures."""
    rng = np.random.default_rng(0)
    context = Context()
    frame = rng.integers(0, 256, (480, 640, 3), np.uint8)
    for turn in range(num_turns):
        texts = (TextIn(TextSource.TYPED, "and what of this"),) if turn % 97 == 0 else ()
        given = TurnInput(rng.normal(0.0, 0.1, TURN_SAMPLES).astype(np.float32), frame, texts)
        silence = np.zeros(TURN_SAMPLES, np.float32)
        hear, say = (" word", "") if turn % 11 < 5 else ("", " word")
        context.add(given, TurnOutput(turn, hear, say, None, bool(say), silence))
    return context


def packages(desk: Desk) -> tuple[list[float], list[float]]:
    """Milliseconds that the session's thread spends on each package, and until it is there."""
    context, playback = talked(TALK_TURNS), Playback()
    tick_ms, made_ms = [], []
    for number in range(PACKAGES):
        start_s = time.perf_counter()
        desk.pack(f"p{number}", context.packer(f"p{number}", "what is this", playback, (), ()))
        tick_ms.append((time.perf_counter() - start_s) * 1000)
        while not any(isinstance(one, Packed) for one in desk.news(1000)):
            time.sleep(0.0005)
        made_ms.append((time.perf_counter() - start_s) * 1000)
    return tick_ms, made_ms


def turns(desk: Desk, minutes: float) -> dict[bool, list[float]]:
    """Milliseconds of every turn, without jobs and while ``MAX_RUNNING`` of them stream."""
    rng = np.random.default_rng(1)
    session = Session.open(load("nano"))
    found: dict[bool, list[float]] = {False: [], True: []}
    context, playback = talked(10), Playback()
    start_s = time.monotonic()
    for turn in range(int(minutes * 60_000 / TURN_MS)):
        stretch, place = divmod(turn, STRETCH_TURNS)
        streams = bool(stretch % 2)
        if streams and place == 0:
            for number in range(MAX_RUNNING):
                name = f"j{stretch}-{number}"
                desk.start(name, context.packer(name, "write", playback, (), ()))
        if streams and place == STRETCH_TURNS - 1:
            for number in range(MAX_RUNNING):
                desk.cancel(f"j{stretch}-{number}")
        sound = rng.normal(0.0, 0.01, TURN_SAMPLES).astype(np.float32)
        time.sleep(max(0.0, start_s + turn * TURN_MS / 1000 - time.monotonic()))
        begin_s = time.perf_counter()
        session.step(TurnInput(sound))
        if 2 <= place < STRETCH_TURNS - 1 and stretch:
            found[streams].append((time.perf_counter() - begin_s) * 1000)
        desk.news(1000)
    return found


def main(minutes: float) -> None:
    """Print both."""
    use_one_thread()
    office = Office(Streamer(), Budget(characters=10_000_000))
    desk = office.desk()
    tick_ms, made_ms = packages(desk)
    for name, values in (("tick", tick_ms), ("made", made_ms)):
        print(f"package, {name}: median {np.median(values):.2f} ms, most {max(values):.2f} ms")
    found = turns(desk, minutes)
    office.close()
    idle, busy = (float(np.median(found[streams])) for streams in (False, True))
    print(f"a turn: {idle:.2f} ms, while {MAX_RUNNING} jobs stream {busy:.2f} ms, {busy / idle:.3f} x")


main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
