"""Everything that can be scored is a system: it plays sessions, each of one or more scenarios in a row.

A session is given as a source, a function that makes its scenarios one after the other, so that it can be made and
played by another process and an hour of it never lies in memory.

Beside the model stand trivial answers, each the strongest of its kind (what is always said and the number that is
always counted are chosen to score best on the very sessions that are scored), and the labels themselves, which must
score 100 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from microturn.language.lexicon import number_words
from microturn.model.hearing import VOICE_LAG_MS
from microturn.model.microturn import Microturn, use_one_thread
from microturn.model.weights import load
from microturn.scenario.scenario import REPLY_PAUSE_MS, Scenario, first_turn_heard_after
from microturn.session.session import Session
from microturn.turn import TURN_MS, TURN_SAMPLES, Act, Rehearsed, TextSource, TurnInput, TurnOutput

SessionSource = Callable[[], Iterable[Scenario]]
"""Makes the scenarios of one session; a module's function or a ``partial`` of one, so that it can be pickled."""
Answer = Callable[[Scenario], list[TurnOutput]]
"""What goes out in every turn of a scenario."""
WORD_MS = 400
"""Time that a trivial answer takes for a word."""
SPEECH_PAUSE_MS = 600.0
"""Speech is over when the next word comes so much later."""
FILLER = "yes"
"""What is always said where nothing is expected."""


@dataclass(frozen=True)
class Played:
    """A scenario of session ``session``, without its media, and the system's output of every turn, counted from the
    scenario's start."""

    session: int
    scenario: Scenario
    outputs: list[TurnOutput]


@dataclass(frozen=True)
class System:
    """Something that answers what comes in: ``open(session)`` starts a session, whose scenarios come one after the
    other, with everything remembered from one to the next. Sessions are played by ``workers``, if there are any."""

    name: str
    open: Callable[[int], Answer]
    workers: Executor | None = None

    def play(self, sessions: Sequence[SessionSource]) -> Iterator[Played]:
        """Play every session. Scenarios of one session are yielded in order; sessions may come in any order."""
        spread = self.workers.map if self.workers else map
        for played in spread(partial(_play, self.open), range(len(sessions)), sessions):
            yield from played


def _play(open_session: Callable[[int], Answer], session: int, source: SessionSource) -> list[Played]:
    answer = open_session(session)
    # Scoring needs no sound and no pictures, and they would have to come here from another process.
    return [
        Played(session, replace(scenario, user=np.zeros(0, np.float32), frames={}, said=[]), answer(scenario))
        for scenario in source()
    ]


def model_system(weights: str, workers: Executor | None) -> System:
    """The model of ``weights`` (packaged name, folder, repository) in each of ``workers``, as many as there are cores,
    or in this process; a session's index is its seed.

    Sessions do not share a batch: on a CPU a turn of eight rows takes longer than eight turns of one.
    """
    return System(weights, partial(_open_model, weights), workers)


@lru_cache(maxsize=1)
def _loaded(weights: str) -> Microturn:
    use_one_thread()
    return load(weights)


def _open_model(weights: str, seed: int) -> Answer:
    session = Session.open(_loaded(weights), seed=seed)
    silence = np.zeros(TURN_SAMPLES, np.float32)

    def answer(scenario: Scenario) -> list[TurnOutput]:
        outputs = []
        for turn in range(scenario.num_turns):
            output = session.step(turn_input(scenario, turn))
            # One array for all silent turns keeps an hour of them small on its way to another process.
            audio = output.audio if output.audio.any() else silence
            outputs.append(replace(output, turn=turn, audio=audio))
        return outputs

    return answer


def turn_input(scenario: Scenario, turn: int) -> TurnInput:
    """What comes in during one turn of ``scenario``; in a rehearsal the words in place of sound."""
    audio = scenario.user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES]
    return TurnInput(
        audio=None if turn in scenario.gaps or scenario.rehearsed else audio,
        frame=scenario.frames.get(turn),
        texts=scenario.texts.get(turn, ()),
        rehearsed=_rehearsed(scenario, turn) if scenario.rehearsed else None,
    )


def _rehearsed(scenario: Scenario, turn: int) -> Rehearsed:
    """The words of the hear lane, and whether somebody speaks, as the hearing stack would tell it."""
    moment_ms = (turn + 1) * TURN_MS - VOICE_LAG_MS
    voice = any(word.start_ms <= moment_ms < word.end_ms for word in scenario.heard)
    return Rehearsed(tuple(scenario.hear_labels().get(turn, ())), voice)


def baselines(family: str, scenarios: Sequence[Scenario]) -> dict[str, Answer]:
    """Silence; what is expected most often in ``scenarios``, over and over; the number that is within one of most true
    counts in them; and everything handed over and what jobs bring said at once."""
    expected = Counter(event.words for scenario in scenarios for event in scenario.events)
    answers: dict[str, Answer] = {
        "never speak": never_speak,
        "always speak": partial(repeat, expected.most_common(1)[0][0] if expected else FILLER),
    }
    if family == "count":
        counts = [scenario.true_count for scenario in scenarios if scenario.true_count is not None]
        guesses = range(max(counts, default=0) + 1)
        number = max(guesses, key=lambda guess: sum(abs(guess - count) <= 1 for count in counts))
        words = " ".join(number_words(number))
        answers[f"always say {words}"] = partial(repeat, words)
    if family == "delegate":
        answers["always delegate, read out"] = always_delegate
    return answers


def never_speak(scenario: Scenario) -> list[TurnOutput]:
    """Silence."""
    return repeat("", scenario)


def repeat(words: str, scenario: Scenario) -> list[TurnOutput]:
    """``words`` over and over, with one silent turn in between."""
    sounding = -(-len(words.split()) * WORD_MS // TURN_MS)
    silence = np.zeros(TURN_SAMPLES, np.float32)
    outputs = []
    for turn in range(scenario.num_turns):
        place = turn % (sounding + 1)
        outputs.append(TurnOutput(turn, "", _lane(words.split() if not place else ()), None, place < sounding, silence))
    return outputs


def always_delegate(scenario: Scenario) -> list[TurnOutput]:
    """``delegate`` at the end of all speech and of typed texts, and what jobs bring, said as soon as it is there."""
    starts_ms = [*(word.start_ms for word in scenario.heard), np.inf]
    ends_ms = [word.end_ms for word, then_ms in zip(scenario.heard, starts_ms[1:], strict=True)
               if then_ms - word.end_ms > SPEECH_PAUSE_MS]  # fmt: skip
    turns = {first_turn_heard_after(end_ms + REPLY_PAUSE_MS) for end_ms in ends_ms}
    turns |= {turn + 1 for turn, texts in scenario.texts.items() if texts[0].source is TextSource.TYPED}
    silence = np.zeros(TURN_SAMPLES, np.float32)
    waiting: list[str] = []
    speaking_until = 0
    outputs = []
    for turn in range(scenario.num_turns):
        for text in scenario.texts.get(turn - 1, ()):
            if text.source is TextSource.JOB:
                waiting += [word for word in text.text.split() if not word.isdigit()]
        word = ""
        if waiting and turn >= speaking_until:
            word, speaking_until = waiting.pop(0), turn + WORD_MS // TURN_MS
        act = Act.DELEGATE if turn in turns else None
        outputs.append(TurnOutput(turn, "", _lane(word.split()), act, turn < speaking_until, silence))
    return outputs


def labels(scenario: Scenario) -> list[TurnOutput]:
    """Every word and sound where the scenario has it: the ceiling of every figure."""
    say, hear, speaking = scenario.say_labels(), scenario.hear_labels(), scenario.speaking()
    acts = scenario.act_labels()
    pcm = scenario.model_pcm().reshape(-1, TURN_SAMPLES)
    return [
        TurnOutput(turn, _lane(hear.get(turn, ())), _lane(say.get(turn, ())), acts.get(turn), speaking[turn], pcm[turn])
        for turn in range(scenario.num_turns)
    ]


def _lane(words: Iterable[str]) -> str:
    """Words as a lane writes them: each with its leading space."""
    return "".join(f" {word}" for word in words)
