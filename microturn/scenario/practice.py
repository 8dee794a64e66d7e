"""Sessions that are made for training alone, and all of its sessions by name.

Rehearsal is a family's session without the user's sound: what to do when is learnt from the words and their times as
well, and making them takes no synthesis. Practice is of one thing, again and again: of speaking (typed requests; it is
the slowest thing to learn and needs no listening), of spelling, of results, of watching. One request in seven of
``say`` asks for letters, and the network learnt the few words that were asked for by heart (docs/log.md): here every
word of the lexicon that may be spelt in training is asked for, and so is everything else that is one text token. What a
job brings is a few words in a long session of ``delegate``: here one result follows the other, some as long as what a
language model answers. To count, the network must see when a repetition is over, which the families say once in ten
turns: here every turn is told (``Scenario.phases``), as every word is in listening practice.

In a quarter of the other sessions a camera looks on that nobody speaks of: a network that had met pictures in counting
alone answered nothing else while any came (docs/log.md).
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from microturn.language.lexicon import CONTENT, FUNCTION, LETTERS, NUMBERS
from microturn.language.tokenizer import default_tokenizer
from microturn.language.wordings import SAY, SPELL, combination, combination_split, pick, plain_sentence
from microturn.pictures.repcount import RepTiming
from microturn.pictures.repetitions import SEEN_LAG_MS, draw_count_video, draw_idle_video
from microturn.scenario.asked import draw_asked, open_word
from microturn.scenario.families.delegate import NUMBERED_SHARE, bring, bring_written
from microturn.scenario.families.say import draw_request, draw_spelling, letter_names
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script, plain_words
from microturn.split import Split
from microturn.turn import TURN_MS, TURN_SAMPLES, Frame

PRACTICE, SPELLING, RESULTS, WATCHING = "practice", "spelling", "results", "watching"
REHEARSED = "rehearsed "
"""Before the name of a family: its rehearsal."""
TYPED_SHARE, MADE_UP_SHARE = 0.2, 0.5
"""Of the requests to spell."""
MADE_UP_LETTERS = range(3, 9)
MADE_UP_TOKENS = 6
"""At most: with the two that may follow ("spell ... out loud") as many as the model can point at."""
LONG_SHARE = 0.35
"""Of the sessions of results: those in which the first is as long as a language model's answer, ..."""
LONG_WORDS = range(15, 51)
"""... so many words, ..."""
WRITTEN_SHARE = 0.5
"""... and in so many of these comes sentence by sentence, as it is written."""
MAX_WRITTEN_TURNS = 10
"""A sentence takes so long to be written at most."""
MAX_VIDEO_MS = 16_000.0
CAMERA_SHARE = 0.25
"""Of the sessions without pictures: those that get some."""
CAMERA_STEPS = (1, 2, 3, 5)
"""A camera has a picture in one turn of so many."""
MAX_CAMERA_PICTURES = 160
"""More would make a long session's row too long."""
LATE_SHARE = 0.3
"""Of the cameras: those that are switched on within the session."""

NUM_QUARTERS = 4
NUM_PHASES = NUM_QUARTERS + 2
REST, DONE = 0, NUM_PHASES - 1
"""Phases: at rest, the four quarters of a repetition (1 to 4), and the turn in which its end can be seen."""


def make_scenario(name: str, seed: int, split: Split, data: Path | None) -> Scenario:
    """A scenario of a family, of its rehearsal, or of a practice, by name.

    Raises ``InputError`` for an unknown family, ``VoiceError`` if a voice is missing.
    """
    rng = np.random.default_rng((zlib.crc32(f"{name} {split}".encode()), seed))
    scenario = _made(name, rng, seed, split, data)
    if not scenario.frames and split == "train" and rng.random() < CAMERA_SHARE:
        scenario.frames = _looked_on(rng, scenario.num_turns)
    return scenario


def _looked_on(rng: np.random.Generator, num_turns: int) -> dict[int, Frame]:
    """Pictures of a camera that looks on, by turn."""
    step, first = max(int(rng.choice(CAMERA_STEPS)), -(-num_turns // MAX_CAMERA_PICTURES)), 0
    if rng.random() < LATE_SHARE:
        first = int(rng.integers(num_turns))
    frames = draw_idle_video(rng, "train", float(num_turns * TURN_MS))
    return {turn: frames[turn] for turn in range(first, num_turns, step) if turn in frames}


def _made(name: str, rng: np.random.Generator, seed: int, split: Split, data: Path | None) -> Scenario:
    if name.startswith(REHEARSED):
        return replace(generate(name.removeprefix(REHEARSED), seed, split, sound=False), family=name)
    if name not in (PRACTICE, SPELLING, RESULTS, WATCHING):
        return generate(name, seed, split, data=data)
    if name == WATCHING:
        return _watching(Script(rng, split, data=data, assistant=False, sound=False))
    if name == SPELLING:
        return _spelling(Script(rng, split, sound=False))
    if name == RESULTS:
        return _results(Script(rng, split, sound=False))
    scenario = _speaking(Script(rng, split, sound=False))
    return replace(scenario, gaps=frozenset(range(scenario.num_turns) if seed % 2 else ()))


def _speaking(script: Script) -> Scenario:
    """Four to seven typed requests, each answered aloud in the next turn; every other session has no microphone."""
    script.kind = PRACTICE
    for _ in range(int(script.rng.integers(4, 8))):
        script.pause(0.0, 500.0)
        script.answer_typed(*_request(script.rng, script.split))
        script.wait_until(script.said_until_ms)
    return script.finish(PRACTICE, tail_ms=2.0 * TURN_MS)


def _request(rng: np.random.Generator, split: Split) -> tuple[str, str]:
    kind = rng.random()
    if kind < 0.35:
        return draw_request(rng, split)
    if kind < 0.45:
        reply = letter_names(rng.choice(LETTERS, int(rng.integers(1, 6))))
    elif kind < 0.65:
        reply = " ".join(str(number) for number in rng.choice(NUMBERS, int(rng.integers(1, 4))))
    elif kind < 0.75:
        reply = plain_sentence(rng, split)
    else:
        reply = " ".join(combination(rng, split, int(rng.choice([1, 1, 2, 3, 4]))))
    return SAY.draw(rng, split, x=plain_words(reply)), reply


@lru_cache(maxsize=1)
def spellable() -> tuple[str, ...]:
    """The words of the lexicon, and the beginnings of words that are one text token, in order."""
    tokenizer = default_tokenizer()
    texts = (tokenizer.decode([index]) for index in range(tokenizer.vocab_size))
    pieces = (text[1:] for text in texts if text[0] == " " and text[1:].isascii() and text[1:].isalpha())
    return tuple(sorted({*CONTENT, *FUNCTION, *(piece for piece in pieces if piece.islower())}))


def _spelling(script: Script) -> Scenario:
    """Three to six requests to spell, rehearsed or typed; half of the words are made up of another one's letters, so
    that they are read and not known by heart."""
    script.kind = SPELLING
    for _ in range(int(script.rng.integers(3, 7))):
        script.pause(200.0, 800.0)
        if script.rng.random() < MADE_UP_SHARE:
            word = made_up(script.rng, script.split)
            request, reply = SPELL.draw(script.rng, script.split, x=word), letter_names(word)
        else:
            request, reply = draw_spelling(script.rng, script.split, spellable())
        if script.rng.random() < TYPED_SHARE:
            script.answer_typed(request, reply)
        else:
            script.answer(reply, script.speak(request)[-1].end_ms)
        script.wait_until(script.said_until_ms)
    return script.finish(SPELLING, tail_ms=600.0)


def made_up(rng: np.random.Generator, split: Split) -> str:
    """The letters of a word in another order, few enough tokens and a word that may be spelt in this split."""
    while True:
        word = "".join(rng.permutation(list(pick(rng, spellable()))))
        is_fit = len(word) in MADE_UP_LETTERS and len(default_tokenizer().encode_word(word)) <= MADE_UP_TOKENS
        if is_fit and combination_split("spell", word) == split:
            return word


def _results(script: Script) -> Scenario:
    """Four to seven results of jobs, half of them words that nobody could guess, one after the other; or a long one and
    one or two others. In half of these some words come again, so that which one was said last does not tell which one
    is next."""
    script.kind, rng = RESULTS, script.rng
    is_numbered, is_long = rng.random() < NUMBERED_SHARE, rng.random() < LONG_SHARE
    for place in range(int(rng.integers(2, 4) if is_long else rng.integers(4, 8))):
        script.pause(0.0, 1500.0)
        number = int(rng.integers(1, 3)) if is_numbered else None
        if is_long and place == 0:
            sentences = _sentences(rng, script.split)
            if rng.random() < WRITTEN_SHARE:
                bring_written(script, number, sentences, MAX_WRITTEN_TURNS)
            else:
                bring(script, number, " ".join(sentences))
        else:
            bring(script, number, _result(rng, script.split))
    return script.finish(RESULTS, tail_ms=600.0)


def _result(rng: np.random.Generator, split: Split) -> str:
    if rng.random() < 0.5:
        return draw_asked(rng, split).result
    words = [open_word(rng, split) for _ in range(int(rng.integers(1, 10)))]
    if rng.random() < 0.5:
        words = [str(word) for word in rng.choice(words, len(words))]
    return " ".join(words)


def _sentences(rng: np.random.Generator, split: Split) -> list[str]:
    """``LONG_WORDS`` words in sentences."""
    left, sentences = int(rng.choice(LONG_WORDS)), []
    while left > 0:
        sentences.append(" ".join(_result(rng, split).split()[:left]))
        left -= len(sentences[-1].split())
    return sentences


def _watching(script: Script) -> Scenario:
    """Up to 16 s of video without any sound; ``Scenario.phases`` has the phase of every turn."""
    video = draw_count_video(script.rng, script.split, script.timings, MAX_VIDEO_MS)
    script.show(video.frames, 0)
    scenario = script.finish(WATCHING, tail_ms=0.0)
    scenario.num_turns = max(video.frames) + 1  # it is over with the video
    scenario.user = scenario.user[: scenario.num_turns * TURN_SAMPLES]
    scenario.phases = {turn: _phase_at(video.timing, turn) for turn in video.frames}
    return scenario


def _phase_at(timing: RepTiming, turn: int) -> int:
    """The phase that turn ``turn`` of a video shows. A repetition's end is seen in the turn in which ``count`` would
    say its number."""
    now_ms = (turn + 1) * TURN_MS - SEEN_LAG_MS
    for start_ms, end_ms in zip(timing.start_ms, timing.end_ms, strict=True):
        if 0.0 <= now_ms - end_ms < TURN_MS:
            return DONE
        if start_ms <= now_ms < end_ms:
            return 1 + int(NUM_QUARTERS * (now_ms - start_ms) / (end_ms - start_ms))
    return REST
