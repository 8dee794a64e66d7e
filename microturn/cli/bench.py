"""``microturn bench open``: score weights on held-out sessions, beside trivial answers, with the bars."""

from __future__ import annotations

import json as json_format
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from microturn.cli.progress import progress
from microturn.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Score weights.")

QUICK_SESSIONS = 20
QUICK_MINUTES = 2
QUICK_CLIPS = 80


class Part(StrEnum):
    """A part of the benchmark that can be run by itself."""

    FAMILIES = "families"
    HEARD = "heard"
    PEOPLE = "people"
    SPOKEN = "spoken"
    COST = "cost"
    LONG = "long"


@app.callback()
def _benchmarks() -> None:
    """Score weights."""


@app.command("open")
def bench_open(
    weights: Annotated[str, typer.Option(help="Packaged name, folder, or Hugging Face repository.")] = "nano",
    sessions: Annotated[int, typer.Option(min=1, help="Sessions of each family.")] = 200,
    families: Annotated[
        str | None, typer.Option(help="Families to score, separated by commas (default: all).", show_default=False)
    ] = None,
    part: Annotated[list[Part] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    minutes: Annotated[int, typer.Option(min=2, help="Length of the long sessions.")] = 60,
    long_sessions: Annotated[int, typer.Option(min=1, help="Number of long sessions.")] = 4,
    data: Annotated[Path | None, typer.Option(help="Folder with recordings of real people, for part people.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Recordings of each group of real people.")] = 320,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of recordings.")] = 0,
    sound: Annotated[bool, typer.Option(help="Have the sound recognised too.")] = True,
    words_given: Annotated[
        bool, typer.Option("--words-given", help="Families: give the user's words in place of his sound.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"{QUICK_SESSIONS} sessions a family, {QUICK_CLIPS} clips a group, cost of {QUICK_MINUTES} minutes.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score held-out sessions: what is said and when, what is heard (of real people too, with --data), how any
    words are spoken, what a turn costs, how an hour ends.

    The same weights and options give the same scores on one machine (times aside).
    """
    from rich.console import Console

    from microturn.bench.cost import measure_cost
    from microturn.bench.people import score_people
    from microturn.bench.report import Results, print_tables, to_dict
    from microturn.bench.spoken import score_spoken, sentences
    from microturn.bench.suite import (
        FAMILIES,
        LongConfig,
        num_parts,
        score_family,
        score_listening,
        score_long,
        sessions_of,
    )
    from microturn.bench.systems import model_system
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import load
    from microturn.session.session import Session

    chosen = FAMILIES if families is None else tuple(families.split(","))
    unknown = [family for family in chosen if family not in FAMILIES]
    if unknown:
        raise InputError(f"--families {unknown[0]!r}: expected some of {','.join(FAMILIES)}")
    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    if quick:
        sessions, minutes = min(sessions, QUICK_SESSIONS), min(minutes, QUICK_MINUTES)
        clips = min(clips, QUICK_CLIPS)
    left_out = {Part.LONG: quick, Part.SPOKEN: not sound}
    parts = set(part or (one for one in Part if not left_out.get(one)))
    if data is None and Part.PEOPLE in (part or ()):
        raise InputError("--part people: the recordings are missing (--data FOLDER)")
    long_config = LongConfig(num_sessions=long_sessions, minutes=minutes) if Part.LONG in parts else None
    use_one_thread()
    model = load(weights)
    _look_for_programs(parts, data, sound)
    results = Results(weights, sessions)
    # Workers are spawned: a fork of a process in which torch has started its threads can hang.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as workers:
        system = model_system(weights, workers)
        if Part.FAMILIES in parts:
            for family in chosen:
                sources = sessions_of(family, sessions, words_given=words_given)
                with progress(family, sessions) as advance:
                    results.families += score_family(family, system, sources, workers if sound else None, advance)
        if Part.HEARD in parts:
            with progress("heard", None) as advance:
                results.heard = score_listening(system, sessions, advance)
        if Part.PEOPLE in parts and data is not None:
            with progress("people", None) as advance:
                hearing = model.network.hearing
                results.people, results.noises = score_people(
                    weights, hearing, model.tokenizer, data, clips, seed, advance
                )
        if Part.SPOKEN in parts:
            with progress("spoken", len(sentences())) as advance:
                results.spoken = score_spoken(model, workers, advance)
        if Part.COST in parts:
            with progress("cost", minutes) as advance:
                results.cost = measure_cost(lambda: Session.open(model), minutes, workers, advance)
        if long_config is not None:
            with progress("long sessions", num_parts(long_config)) as advance:
                results.long = score_long(system, long_config, advance)
    if json:
        sys.stdout.write(json_format.dumps(to_dict(results)) + "\n")
    else:
        print_tables(results, Console())


def _look_for_programs(parts: set[Part], data: Path | None, sound: bool) -> None:
    """Raises ``VoiceError`` or ``InputError`` for what is missing that a part needs: some of them come after hours."""
    from microturn.bench.heard import groups
    from microturn.bench.sound import pronounceable
    from microturn.voices.assistant import assistant_voice
    from microturn.voices.people import clips

    if Part.HEARD in parts:
        groups(1)
    if Part.SPOKEN in parts or (sound and Part.FAMILIES in parts):
        assistant_voice()
        pronounceable()
    if Part.PEOPLE in parts and data is not None:
        next(clips(data))
