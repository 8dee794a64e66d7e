"""Everything that can be scored is a system: it plays sessions, each of one or more scenarios in a row.

A session is given as a source, a function that makes its scenarios one after the other, so that it can be made and
played by another process and an hour of it never lies in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Protocol

import numpy as np
import torch

from microturn.model.hearing import VOICE_LAG_MS
from microturn.model.microturn import Microturn
from microturn.model.weights import load
from microturn.scenario.scenario import Scenario
from microturn.session.session import Session
from microturn.turn import TURN_MS, TURN_SAMPLES, Rehearsed, TurnInput, TurnOutput

SessionSource = Callable[[], Iterable[Scenario]]
"""Makes the scenarios of one session; a module's function or a ``partial`` of one, so that it can be pickled."""


@dataclass(frozen=True)
class Played:
    """A scenario of session ``session`` and the system's output of every turn, counted from the scenario's start.

    The scenario comes without its media.
    """

    session: int
    scenario: Scenario
    outputs: list[TurnOutput]


class System(Protocol):
    """Something that answers what comes in."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    def play(self, sessions: Sequence[SessionSource]) -> Iterator[Played]:
        """Play every session: its scenarios come one after the other, with everything remembered from one to the next.

        Scenarios of one session are yielded in order; sessions may come in any order.
        """


@dataclass(frozen=True)
class Stateless:
    """A system that remembers nothing from one scenario to the next."""

    name: str
    answer: Callable[[Scenario], list[TurnOutput]]

    def play(self, sessions: Sequence[SessionSource]) -> Iterator[Played]:
        for session, source in enumerate(sessions):
            for scenario in source():
                yield Played(session, without_media(scenario), self.answer(scenario))


@dataclass(frozen=True)
class ModelSystem:
    """The model in this process, one session after the other; the session's index is its seed.

    Sessions do not share a batch: on a CPU a turn of eight rows takes longer than eight turns of one.
    """

    name: str
    model: Microturn

    def play(self, sessions: Sequence[SessionSource]) -> Iterator[Played]:
        for session, source in enumerate(sessions):
            yield from _play(self.model, session, source)


@dataclass(frozen=True)
class ParallelSystem:
    """The model of ``weights`` (packaged name, folder, repository) in every process of ``workers``: the same answers as
    ``ModelSystem`` with one thread, sooner."""

    name: str
    weights: str
    workers: Executor

    def play(self, sessions: Sequence[SessionSource]) -> Iterator[Played]:
        for played in self.workers.map(partial(_play_in_worker, self.weights), range(len(sessions)), sessions):
            yield from played


def _play_in_worker(weights: str, session: int, source: SessionSource) -> list[Played]:
    return list(_play(_loaded(weights), session, source))


@lru_cache(maxsize=1)
def _loaded(weights: str) -> Microturn:
    # There are as many workers as cores.
    torch.set_num_threads(1)
    return load(weights)


def _play(model: Microturn, session: int, source: SessionSource) -> Iterator[Played]:
    steps = Session.open(model, seed=session)
    silence = np.zeros(TURN_SAMPLES, np.float32)
    for scenario in source():
        outputs = []
        for turn in range(scenario.num_turns):
            output = steps.step(turn_input(scenario, turn))
            # One array for all silent turns keeps an hour of them small on its way to another process.
            audio = output.audio if output.audio.any() else silence
            outputs.append(replace(output, turn=turn, audio=audio))
        yield Played(session, without_media(scenario), outputs)


def one(scenario: Scenario) -> list[Scenario]:
    """The session of a single scenario, as ``partial(one, scenario)``."""
    return [scenario]


def run(system: System, scenario: Scenario) -> list[TurnOutput]:
    """The outputs of one scenario in a session of its own."""
    return run_many(system, [scenario])[0]


def run_many(system: System, scenarios: Sequence[Scenario]) -> list[list[TurnOutput]]:
    """Every scenario in a session of its own; the outputs in the order of ``scenarios``."""
    sources = [partial(one, scenario) for scenario in scenarios]
    outputs = {played.session: played.outputs for played in system.play(sources)}
    return [outputs[session] for session in range(len(scenarios))]


def turn_input(scenario: Scenario, turn: int) -> TurnInput:
    """What comes in during one turn of ``scenario``; in a rehearsal the words in place of sound."""
    rehearsed = _rehearsed(scenario, turn) if scenario.rehearsed else None
    audio = scenario.user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES]
    return TurnInput(
        audio=None if turn in scenario.gaps or scenario.rehearsed else audio,
        frame=scenario.frames.get(turn),
        texts=scenario.texts.get(turn, ()),
        rehearsed=rehearsed,
    )


def _rehearsed(scenario: Scenario, turn: int) -> Rehearsed:
    """The words of the hear lane, and whether somebody speaks, as the hearing stack would tell it."""
    moment_ms = (turn + 1) * TURN_MS - VOICE_LAG_MS
    voice = any(word.start_ms <= moment_ms < word.end_ms for word in scenario.heard)
    return Rehearsed(tuple(scenario.hear_labels().get(turn, ())), voice)


def without_media(scenario: Scenario) -> Scenario:
    """What scoring needs of a scenario: no sound, no pictures."""
    return replace(scenario, user=np.zeros(0, np.float32), frames={}, said=[])
