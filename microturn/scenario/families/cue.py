"""``cue``: say X whenever I say Y, while the user goes on talking."""

from __future__ import annotations

from collections.abc import Sequence

from microturn.language.lexicon import sounds_alike
from microturn.language.wordings import CUE, STOP, combination, combination_split, loose_words, pick
from microturn.scenario.scenario import REPLY_PAUSE_MS, first_turn_heard_after
from microturn.scenario.script import Script, estimate_ms
from microturn.voices.speech import Word

WINDOW_MS = 800.0
"""The answer's first sound comes within this after the cue word's end."""
CUE_SPACING_MS = 1500.0


def build(script: Script) -> None:
    """One rule or two, then 5 to 12 s of talk with none to four cues, then (in strings) the end of the rules."""
    rng = script.rng
    rules: dict[str, str] = {}
    for _ in range(1 if rng.random() < 0.8 else 2):
        script.pause(200.0, 2000.0 if not rules else 800.0)
        cue, reply = draw_rule(script, rules)
        script.speak(CUE.draw(rng, script.split, x=reply, y=cue))
        rules[cue] = reply
    script.pause(400.0, 1500.0)
    _talk_with_cues(script, rules)
    if script.strung:
        script.wait_until(script.busy_until_ms)
        script.pause(400.0, 900.0)
        script.speak(STOP.draw(rng, script.split, polite=False))
        script.pause(300.0, 600.0)


def draw_rule(script: Script, rules: dict[str, str]) -> tuple[str, str]:
    """A cue word and the answer to it: an ordered pair of the split, with sounds that no other rule has."""
    rng = script.rng
    taken = [*rules, *(word for reply in rules.values() for word in reply.split())]
    while True:
        cue = pick(rng, script.content)
        words = combination(rng, script.split, int(rng.choice([1, 1, 1, 2])), script.content)
        if combination_split("cue", *words, cue) != script.split:
            continue
        if not any(sounds_alike(word, other) for word in (cue, *words) for other in taken) and not any(
            sounds_alike(cue, word) for word in words
        ):
            return cue, " ".join(words)


def _talk_with_cues(script: Script, rules: dict[str, str]) -> None:
    rng = script.rng
    cues = tuple(rules)
    remaining = int(rng.choice([0, 1, 2, 3, 4], p=[0.1, 0.25, 0.3, 0.2, 0.15]))
    end_ms = script.now_ms + rng.uniform(5000.0, 12000.0)
    spacing_ms = max(CUE_SPACING_MS, 500.0 + max(estimate_ms(reply) for reply in rules.values()))
    free_from_ms = script.now_ms
    while script.now_ms < end_ms or remaining:
        words = list(loose_words(rng, int(rng.integers(3, 8)), avoid=cues))
        position = int(rng.integers(0, len(words)))
        cue = ""
        if remaining and (rng.random() < 0.7 or script.now_ms > end_ms):
            cue = pick(rng, cues)
            words.insert(position, cue)
        speech = script.speaker.speak(" ".join(words))
        if cue:
            # A cue waits until the last one is answered: the user takes a breath first if need be.
            script.wait_until(free_from_ms - _end_ms(speech.words, cue))
        placed = script.place(speech, matters=bool(cue))
        if cue:
            free_from_ms = answer_cue(script, placed, cue, rules[cue]) + spacing_ms
            remaining -= 1
        script.pause(20.0, 300.0)


def answer_cue(script: Script, placed: Sequence[Word], cue: str, reply: str) -> float:
    """The model answers ``cue``, one of the words ``placed``; returns when the cue ends."""
    cue_end_ms = _end_ms(placed, cue)
    at_ms = script.say(reply, first_turn_heard_after(cue_end_ms + REPLY_PAUSE_MS))
    script.expect(reply, at_ms, at_ms - cue_end_ms, cue_end_ms + WINDOW_MS - at_ms, cue_end_ms)
    return cue_end_ms


def _end_ms(words: Sequence[Word], text: str) -> float:
    return next(word for word in words if word.text == text).end_ms
