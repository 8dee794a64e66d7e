"""Everything that can be scored is a system: it plays sessions, each of one or more scenarios in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from microturn.model.microturn import Microturn
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput


@dataclass(frozen=True)
class Played:
    """A scenario of session ``session`` and the system's output of every turn, counted from the scenario's start."""

    session: int
    scenario: Scenario
    outputs: list[TurnOutput]


class System(Protocol):
    """Something that answers what comes in."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    def play(self, sessions: Iterable[Iterable[Scenario]]) -> Iterator[Played]:
        """Play every session: its scenarios come one after the other, with everything remembered from one to the next.

        Scenarios of one session are yielded in order; sessions may overlap. Scenarios are taken as they are needed.
        """


@dataclass(frozen=True)
class Stateless:
    """A system that remembers nothing from one scenario to the next."""

    name: str
    answer: Callable[[Scenario], list[TurnOutput]]

    def play(self, sessions: Iterable[Iterable[Scenario]]) -> Iterator[Played]:
        for session, scenarios in enumerate(sessions):
            for scenario in scenarios:
                yield Played(session, scenario, self.answer(scenario))


class ModelSystem:
    """The model, with ``num_rows`` sessions at the same time."""

    def __init__(self, model: Microturn, name: str, num_rows: int = 8) -> None:
        self.name = name
        self._model = model
        self._num_rows = num_rows

    def play(self, sessions: Iterable[Iterable[Scenario]]) -> Iterator[Played]:
        """As ``System.play``. The session's index is its seed; a row that is free takes the next session."""
        waiting = iter(enumerate(sessions))
        state = self._model.initial_state(self._num_rows)
        stretches = [_Row() for _ in range(self._num_rows)]
        while True:
            for row, stretch in enumerate(stretches):
                while not stretch.ready():
                    session = next(waiting, None)
                    if session is None:
                        break
                    stretch.begin(*session)
                    self._model.reset_row(state, row, stretch.session)
            inputs = [stretch.next_input() for stretch in stretches]
            if all(given is None for given in inputs):
                return
            for stretch, output in zip(stretches, self._model.step(inputs, state), strict=True):
                if output is not None:
                    played = stretch.take(output)
                    if played is not None:
                        yield played


class _Row:
    """What one row of the model is playing."""

    def __init__(self) -> None:
        self.session = 0
        self._scenarios: Iterator[Scenario] = iter(())
        self._scenario: Scenario | None = None
        self._outputs: list[TurnOutput] = []

    def begin(self, session: int, scenarios: Iterable[Scenario]) -> None:
        self.session = session
        self._scenarios = iter(scenarios)

    def ready(self) -> bool:
        """Whether there is a turn to play; takes the session's next scenario when the last one is over."""
        if self._scenario is None:
            self._scenario = next(self._scenarios, None)
        return self._scenario is not None

    def next_input(self) -> TurnInput | None:
        return None if self._scenario is None else turn_input(self._scenario, len(self._outputs))

    def take(self, output: TurnOutput) -> Played | None:
        """Keep a turn's output; returns the scenario when this was its last turn."""
        assert self._scenario is not None
        self._outputs.append(from_start(output, len(self._outputs)))
        if len(self._outputs) < self._scenario.num_turns:
            return None
        played = Played(self.session, self._scenario, self._outputs)
        self._scenario, self._outputs = None, []
        return played


def run(system: System, scenario: Scenario) -> list[TurnOutput]:
    """The outputs of one scenario in a session of its own."""
    return next(system.play([[scenario]])).outputs


def run_many(system: System, scenarios: Sequence[Scenario]) -> list[list[TurnOutput]]:
    """Every scenario in a session of its own; the outputs in the order of ``scenarios``."""
    outputs = {played.session: played.outputs for played in system.play([scenario] for scenario in scenarios)}
    return [outputs[session] for session in range(len(scenarios))]


def turn_input(scenario: Scenario, turn: int) -> TurnInput:
    """What comes in during one turn of ``scenario``."""
    audio = scenario.user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES]
    return TurnInput(
        audio=None if turn in scenario.gaps else audio,
        frame=scenario.frames.get(turn),
        texts=scenario.texts.get(turn, ()),
    )


def from_start(output: TurnOutput, turn: int) -> TurnOutput:
    """``output`` with its turn counted from another start."""
    return TurnOutput(turn, output.hear, output.say, output.act, output.speaking, output.audio)
