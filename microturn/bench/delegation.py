"""What is handed over and what is not, and what becomes of it (family ``delegate``).

Every act belongs to what the user said last: to the newest ``Due`` that had begun by then. A request is handed over
right if there is one act after it, ``delegate``, and in time; what asks for no act is left right if there is none.
Results are scored as events are, and by their moment alone: there, it is enough to say half of a result's words. To
cancel is to ask for it, and to say no word after it that nothing explains. Requests come whether they were handed over
or not, and so does what their jobs bring.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from microturn.bench.events import Said, score_session
from microturn.scenario.families.delegate import DELEGATE, HOLD
from microturn.scenario.scenario import Due, Event, Scenario
from microturn.scenario.script import REPLY_LATE_MS
from microturn.turn import TURN_MS, Act, TurnOutput

ACT_LATE_MS = REPLY_LATE_MS + 2 * TURN_MS
"""How long after what asks for it an act still counts: as long as the words that go with it."""

Acts = Sequence[tuple[float, Act]]
"""What was asked of the runtime, and when: the end of its turn, ms."""


@dataclass(frozen=True)
class DelegationScore:
    """Shares in [0, 1], ``None`` where there is nothing to measure; with the counts that they are shares of."""

    num_requests: int
    handed_over: float | None
    num_others: int
    """Things said that ask for no act."""
    left: float | None
    """Of them, those after which none was asked for."""
    num_follow_ups: int
    followed: float | None
    """Requests, timers and rules that the model answers itself, answered right."""
    num_results: int
    in_time: float | None
    """Results that were begun at an acceptable moment: half of their words are enough."""
    results_right: float | None
    num_changes: int
    changed: float | None
    """Corrections and cancellations that were honoured."""


def acts_of(outputs: Iterable[TurnOutput]) -> Acts:
    return [((output.turn + 1.0) * TURN_MS, output.act) for output in outputs if output.act is not None]


def score_delegation(
    sessions: Sequence[Scenario], said: Sequence[Sequence[Said]], acts: Sequence[Acts]
) -> DelegationScore:
    """One list of what was said, and one of acts, a session."""
    handed, left, followed, in_time, right, changed = (list[bool]() for _ in range(6))
    for session, runs, asked in zip(sessions, said, acts, strict=True):
        score = score_session(session.events, session.num_turns, runs)
        matched = {id(match.event) for match in score.matches}
        for due, good in zip(session.dues, acts_right(session.dues, asked), strict=True):
            if due.act is Act.CANCEL:
                changed.append(good and not any(run.time_ms(0) > due.end_ms for run in score.extra))
            elif due.corrects:
                changed.append(good)
            else:
                (left if due.act is None else handed).append(good)
        for event in session.events:
            if event.kind == DELEGATE:
                right.append(id(event) in matched)
                in_time.append(right[-1] or any(_begins(event, run) for run in score.extra))
            elif event.kind != HOLD:
                followed.append(id(event) in matched)
    return DelegationScore(
        len(handed), _share(handed), len(left), _share(left), len(followed), _share(followed),
        len(right), _share(in_time), _share(right), len(changed), _share(changed),
    )  # fmt: skip


def acts_right(dues: Sequence[Due], acts: Acts) -> list[bool]:
    """Whether after each of ``dues``, and before the next, just what it asks for was asked of the runtime in time."""
    right = []
    next_ms = [due.start_ms for due in dues[1:]] + [float("inf")]
    for place, (due, until_ms) in enumerate(zip(dues, next_ms, strict=True)):
        from_ms = due.start_ms if place else 0.0
        found = [(time_ms, act) for time_ms, act in acts if from_ms <= time_ms < until_ms]
        if due.act is None:
            right.append(not found)
        else:
            in_time = len(found) == 1 and due.end_ms <= found[0][0] <= due.end_ms + ACT_LATE_MS
            right.append(in_time and found[0][1] is due.act)
    return right


def _begins(event: Event, run: Said) -> bool:
    """Whether ``run``, in the event's window, has half of its words or more."""
    said = Counter(word.text for word in run.words) & Counter(event.words.split())
    in_window = event.at_ms - event.early_ms <= run.time_ms(0) <= event.at_ms + event.late_ms
    return in_window and 2 * said.total() >= len(event.words.split())


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None
