"""``cue``: say X whenever I say Y, while the user goes on talking."""

from __future__ import annotations

from microturn.scenario.scenario import HEAR_LAG_MS, Speech, first_turn_heard_after
from microturn.scenario.sentences import combination, loose_words, sounds_alike
from microturn.scenario.timeline import Timeline, estimate_ms
from microturn.scenario.wordings import CUE, STOP, combination_split

WINDOW_MS = 800.0
"""The answer's first sound comes within this after the cue word's end."""
MARGIN_MS = 20.0
CUE_SPACING_MS = 1500.0


def build(timeline: Timeline) -> None:
    """One rule or two, then 5 to 12 s of talk with none to four cues, then (in strings) the end of the rules."""
    rng = timeline.rng
    rules: dict[str, str] = {}
    for _ in range(1 if rng.random() < 0.8 else 2):
        timeline.pause(200.0, 2000.0 if not rules else 800.0)
        cue, reply = _draw_rule(timeline, rules)
        timeline.speak(CUE.draw(rng, timeline.split, x=reply, y=cue))
        rules[cue] = reply
    timeline.pause(400.0, 1500.0)
    _talk_with_cues(timeline, rules)
    if timeline.strung:
        timeline.wait_until(timeline.busy_until_ms)
        timeline.pause(400.0, 900.0)
        timeline.speak(STOP.draw(rng, timeline.split, polite=False))
        timeline.pause(300.0, 600.0)


def _draw_rule(timeline: Timeline, rules: dict[str, str]) -> tuple[str, str]:
    """A cue word and the answer to it: an ordered pair of the split, with sounds that no other rule has."""
    rng = timeline.rng
    taken = [*rules, *(word for reply in rules.values() for word in reply.split())]
    while True:
        cue = timeline.content[int(rng.integers(len(timeline.content)))]
        words = combination(rng, timeline.split, int(rng.choice([1, 1, 1, 2])), timeline.content)
        if combination_split("cue", *words, cue) != timeline.split:
            continue
        if not any(sounds_alike(word, other) for word in (cue, *words) for other in taken) and not any(
            sounds_alike(cue, word) for word in words
        ):
            return cue, " ".join(words)


def _talk_with_cues(timeline: Timeline, rules: dict[str, str]) -> None:
    rng = timeline.rng
    cues = tuple(rules)
    remaining = int(rng.choice([0, 1, 2, 3, 4], p=[0.1, 0.25, 0.3, 0.2, 0.15]))
    end_ms = timeline.now_ms + rng.uniform(5000.0, 12000.0)
    spacing_ms = max(CUE_SPACING_MS, 500.0 + max(estimate_ms(reply) for reply in rules.values()))
    free_from_ms = timeline.now_ms
    while timeline.now_ms < end_ms or remaining:
        words = list(loose_words(rng, int(rng.integers(3, 8)), avoid=cues))
        position = int(rng.integers(0, len(words)))
        cue = ""
        if remaining and (rng.random() < 0.7 or timeline.now_ms > end_ms):
            cue = cues[int(rng.integers(len(cues)))]
            words.insert(position, cue)
        speech = timeline.speaker.speak(" ".join(words))
        if cue:
            # A cue waits until the last one is answered: the user takes a breath first if need be.
            timeline.wait_until(free_from_ms - _cue_of(speech, cue))
        placed = timeline.place(speech, matters=bool(cue))
        if cue:
            cue_end_ms = next(word for word in placed if word.text == cue).end_ms
            free_from_ms = cue_end_ms + spacing_ms
            _answer_cue(timeline, rules[cue], cue_end_ms)
            remaining -= 1
        timeline.pause(20.0, 300.0)


def _cue_of(speech: Speech, cue: str) -> float:
    """The end of the cue word within the speech, ms."""
    return next(word for word in speech.words if word.text == cue).end_ms


def _answer_cue(timeline: Timeline, reply: str, cue_end_ms: float) -> None:
    at_ms = timeline.say(reply, first_turn_heard_after(cue_end_ms + HEAR_LAG_MS + MARGIN_MS))
    timeline.expect(reply, at_ms, at_ms - cue_end_ms, cue_end_ms + WINDOW_MS - at_ms, cue_end_ms)
