"""``time``: once after a delay, every n seconds until told to stop, two timers at once."""

from __future__ import annotations

from microturn.language.lexicon import NUMBERS
from microturn.language.wordings import EVERY, ONCE, STOP, TWO_TIMERS, combination, combination_split
from microturn.scenario.families import free
from microturn.scenario.script import Script
from microturn.turn import TURN_MS

WINDOW_MS = 400.0
"""Said this much before or after the exact time counts as on time."""
TALK_SHARE = 0.35
"""Share of sessions in which the user goes on talking while the time runs."""


def build(script: Script) -> None:
    """One of the three kinds of request, and what the user says meanwhile."""
    script.pause(200.0, 2000.0)
    kind = script.rng.random()
    if kind < 0.5:
        _once(script)
    elif kind < 0.78:
        _every(script)
    else:
        _two_timers(script)


def _once(script: Script) -> None:
    content, seconds = draw_timer(script, 2, 10)
    request = ONCE.draw(script.rng, script.split, x=content, n=NUMBERS[seconds])
    end_ms = script.speak(request)[-1].end_ms
    due_ms = end_ms + 1000.0 * seconds
    say_at(script, content, due_ms, end_ms)
    _talk(script, due_ms + 500.0)
    script.wait_until(script.busy_until_ms)


def _two_timers(script: Script) -> None:
    """Two different things at least two seconds apart, asked for in either order."""
    rng = script.rng
    while True:
        timers = [draw_timer(script, 2, 10, words=1) for _ in range(2)]
        if timers[0][0] != timers[1][0] and abs(timers[0][1] - timers[1][1]) >= 2:
            break
    (first, first_seconds), (second, second_seconds) = timers
    delays = (NUMBERS[first_seconds], NUMBERS[second_seconds])
    request = TWO_TIMERS.draw(rng, script.split, x=first, y=second, n=delays[0], m=delays[1])
    end_ms = script.speak(request)[-1].end_ms
    for content, seconds in sorted(timers, key=lambda timer: timer[1]):
        say_at(script, content, end_ms + 1000.0 * seconds, end_ms)
    _talk(script, end_ms + 1000.0 * max(first_seconds, second_seconds))
    script.wait_until(script.busy_until_ms)


def _every(script: Script) -> None:
    """Two to four repetitions, then the user says stop well before the next one, and nothing follows."""
    rng = script.rng
    content, seconds = draw_timer(script, 2, 5)
    interval_ms = 1000.0 * seconds
    request = EVERY.draw(rng, script.split, x=content, n=NUMBERS[seconds])
    end_ms = script.speak(request)[-1].end_ms
    repetitions = int(rng.integers(2, 5))
    for repetition in range(1, repetitions + 1):
        say_at(script, content, end_ms + repetition * interval_ms, end_ms)
    last_due_ms = end_ms + repetitions * interval_ms
    stop = script.speaker.speak(STOP.draw(rng, script.split, polite=False))
    latest_ms = last_due_ms + interval_ms - stop.words[-1].end_ms - 500.0
    earliest_ms = min(last_due_ms + 250.0, latest_ms)
    stop_ms = rng.uniform(earliest_ms, latest_ms)
    _talk(script, stop_ms - 400.0)
    script.wait_until(stop_ms)
    script.place(stop)
    # What would have been the next repetition belongs to the session: saying it is an error.
    script.wait_until(last_due_ms + interval_ms + 600.0)


def draw_timer(script: Script, low: int, high: int, words: int | None = None) -> tuple[str, int]:
    """What to say and the delay in seconds, a combination of the split."""
    rng = script.rng
    while True:
        content = " ".join(combination(rng, script.split, words or int(rng.choice([1, 1, 2])), script.content))
        seconds = int(rng.integers(low, high + 1))
        if combination_split(content, NUMBERS[seconds]) == script.split:
            return content, seconds


def say_at(script: Script, content: str, due_ms: float, cause_ms: float) -> None:
    """The model says ``content`` from the turn's edge that is nearest to ``due_ms``."""
    script.say(content, round(due_ms / TURN_MS) - 1)
    script.expect(content, due_ms, WINDOW_MS, WINDOW_MS, cause_ms)


def _talk(script: Script, until_ms: float) -> None:
    """In some sessions the user says things that ask nothing, done by ``until_ms``."""
    if script.rng.random() < TALK_SHARE:
        script.pause(500.0, 1500.0)
        free.talk(script, until_ms)
