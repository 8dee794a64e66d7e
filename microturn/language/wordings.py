"""How people put their requests: templates for training and others that are kept for testing.

A held-out template is never used in training but is made only of words that training uses. Which *combinations* of
content words belong to which split is decided by a stable hash of the words, so both sides can be checked without a
list.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from microturn.split import Split

HELDOUT_SHARE = 0.25
"""Share of word combinations kept for testing."""


@dataclass(frozen=True)
class Wordings:
    """Templates of one request; ``{x}``, ``{y}``, ``{n}`` and ``{m}`` are slots."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        return self.train if split == "train" else self.heldout

    def draw(self, rng: np.random.Generator, split: Split, *, polite: bool = True, **slots: str) -> str:
        """One request of the split with its slots filled, often with a polite opening."""
        templates = self.of(split)
        text = templates[int(rng.integers(len(templates)))].format(**slots)
        if polite and rng.random() < 0.5:
            openings = CALLS.of(split)
            if text.split()[0] in VERBS:
                openings = (*ASKS.of(split), *openings)
            text = f"{openings[int(rng.integers(len(openings)))]} {text}"
        return text


CALLS = Wordings(
    train=(
        "computer", "hey computer", "okay", "okay computer", "hello computer", "now", "okay now", "hey", "well",
        "computer now",
    ),
    heldout=("now computer", "well computer", "okay hey computer", "well okay"),
)  # fmt: skip
"""Openings that go before any request."""

ASKS = Wordings(
    train=(
        "please", "could you", "can you", "would you", "could you please", "would you please", "computer please",
        "computer can you", "now please",
    ),
    heldout=("can you please", "hey computer please", "okay computer please", "computer could you", "okay please"),
)  # fmt: skip
"""Openings that go before a request that starts with its verb."""

VERBS = ("say", "repeat", "tell", "let", "spell", "remind", "wait", "answer", "count")

SAY = Wordings(
    train=(
        "say {x}", "repeat after me {x}", "say the word {x}", "repeat {x}", "i want you to say {x}", "tell me {x}",
        "say {x} for me", "say after me {x}", "let me hear {x}", "say this {x}", "repeat the word {x}",
        "say {x} please",
        "the word is {x} say {x}", "now say {x}",
        "say after me the word {x}", "repeat this for me {x}", "i want to hear {x}", "i want to hear you say {x}",
        "let me hear the word {x}", "say {x} to me", "repeat {x} please", "say {x} now", "now repeat after me {x}",
        "after me {x}", "i would like to hear {x}", "i would like you to say {x}", "repeat after me please {x}",
        "tell us {x}",
    ),
    heldout=(
        "repeat {x} for me", "repeat this {x}", "let me hear you say {x}", "after me say {x}", "tell me the word {x}",
    ),
)  # fmt: skip

SPELL = Wordings(
    train=(
        "spell {x}", "spell the word {x}", "how do you spell {x}", "spell {x} for me", "tell me how to spell {x}",
        "let me hear how you spell {x}", "i want you to spell {x}", "spell {x} please",
        "spell out {x}", "spell out the word {x}", "i want to know how to spell {x}", "let me hear how to spell {x}",
        "spell {x} out loud", "i would like you to spell {x}", "can you tell me how to spell {x}",
    ),
    heldout=(
        "spell this word {x}", "tell me how you spell {x}", "spell the word {x} for me",
        "how do you spell the word {x}",
    ),
)  # fmt: skip

GREETINGS: dict[str, Wordings] = {
    "hello": Wordings(
        train=(
            "hello", "hey", "hello computer", "hello there", "hey computer", "hey there", "hello hello", "okay hello",
        ),
        heldout=("hey hello", "hello there computer", "hey there computer"),
    ),
    "good morning": Wordings(
        train=(
            "good morning", "good morning computer", "hello good morning", "good morning to you", "hey good morning",
            "a good morning to you", "good morning my friend", "okay good morning",
        ),
        heldout=("hello good morning to you", "good morning to you computer", "hey good morning my friend"),
    ),
    "good evening": Wordings(
        train=(
            "good evening", "good evening computer", "hello good evening", "good evening to you", "hey good evening",
            "a good evening to you", "good evening my friend", "okay good evening",
        ),
        heldout=("hello good evening to you", "good evening to you computer", "hey good evening my friend"),
    ),
    "good night": Wordings(
        train=(
            "good night", "good night computer", "good night to you", "okay good night", "good night my friend",
            "have a good night", "a good night to you", "well good night",
        ),
        heldout=("okay good night to you", "good night to you computer", "well have a good night"),
    ),
    "i am fine": Wordings(
        train=(
            "how are you", "how are you computer", "hello how are you", "how are you now", "tell me how you are",
            "hey how are you", "and how are you", "how are you my friend",
        ),
        heldout=("hello computer how are you", "hey computer how are you now", "okay tell me how you are"),
    ),
    "you are welcome": Wordings(
        train=(
            "thank you", "thank you computer", "okay thank you", "thank you so much", "thank you my friend",
            "well thank you", "thank you for this", "and thank you",
        ),
        heldout=("okay thank you so much", "well thank you my friend", "thank you for this computer"),
    ),
    "goodbye": Wordings(
        train=(
            "goodbye", "goodbye computer", "okay goodbye", "goodbye my friend", "well goodbye", "goodbye for now",
            "goodbye to you", "thank you and goodbye",
        ),
        heldout=("okay goodbye for now", "well goodbye my friend", "goodbye to you computer"),
    ),
}  # fmt: skip
"""The answer to each greeting, and the ways to put the greeting."""

ONCE = Wordings(
    train=(
        "say {x} in {n} seconds", "in {n} seconds say {x}", "remind me of {x} in {n} seconds",
        "wait {n} seconds and say {x}",
        "after {n} seconds say {x}", "say {x} after {n} seconds", "tell me {x} in {n} seconds",
        "{n} seconds from now say {x}",
        "wait {n} seconds then say {x}", "i want you to say {x} in {n} seconds", "in {n} seconds i want to hear {x}",
        "in {n} seconds tell me {x}", "say the word {x} in {n} seconds",
        "tell me {x} {n} seconds from now", "{n} seconds from now tell me {x}", "wait for {n} seconds then say {x}",
        "after {n} seconds tell me {x}", "after {n} seconds remind me of {x}", "remind me of {x} after {n} seconds",
        "i want to hear {x} in {n} seconds", "i would like to hear {x} after {n} seconds",
        "say the word {x} after {n} seconds", "repeat {x} in {n} seconds", "{n} seconds from now i want to hear {x}",
        "wait {n} seconds and tell me {x}",
    ),
    heldout=(
        "say {x} {n} seconds from now", "wait {n} seconds then tell me {x}", "in {n} seconds remind me of {x}",
        "tell me {x} after {n} seconds", "in {n} seconds say the word {x}",
    ),
)  # fmt: skip

EVERY = Wordings(
    train=(
        "say {x} every {n} seconds", "every {n} seconds say {x}", "repeat {x} every {n} seconds",
        "tell me {x} every {n} seconds", "remind me of {x} every {n} seconds", "say the word {x} every {n} seconds",
        "every {n} seconds tell me {x}", "say {x} every {n} seconds until i say stop",
        "every {n} seconds i want to hear {x}",
        "i want you to say {x} every {n} seconds", "say {x} for me every {n} seconds",
        "repeat the word {x} every {n} seconds", "every {n} seconds let me hear {x}",
        "i want to hear {x} every {n} seconds", "every {n} seconds say {x} for me",
        "until i say stop tell me {x} every {n} seconds", "every {n} seconds say {x} until i say stop",
        "let me hear {x} every {n} seconds", "i would like to hear {x} every {n} seconds",
    ),
    heldout=(
        "every {n} seconds remind me of {x}", "every {n} seconds repeat {x}",
        "until i say stop say {x} every {n} seconds",
        "every {n} seconds say the word {x}", "tell me {x} every {n} seconds until i say stop",
    ),
)  # fmt: skip

TWO_TIMERS = Wordings(
    train=(
        "say {x} in {n} seconds and {y} in {m} seconds", "say {x} in {n} seconds and say {y} in {m} seconds",
        "in {n} seconds say {x} and in {m} seconds say {y}", "after {n} seconds say {x} and after {m} seconds say {y}",
        "tell me {x} in {n} seconds and {y} in {m} seconds",
        "remind me of {x} in {n} seconds and of {y} in {m} seconds",
        "say {x} after {n} seconds and {y} after {m} seconds",
        "in {n} seconds tell me {x} and in {m} seconds tell me {y}",
        "in {n} seconds say {x} and in {m} seconds tell me {y}", "say {x} in {n} seconds then {y} in {m} seconds",
        "tell me {x} after {n} seconds and {y} after {m} seconds",
        "remind me of {x} in {n} seconds and remind me of {y} in {m} seconds",
        "say the word {x} in {n} seconds and the word {y} in {m} seconds",
        "{n} seconds from now say {x} and {m} seconds from now say {y}", "in {n} seconds {x} and in {m} seconds {y}",
        "say {x} in {n} seconds and tell me {y} in {m} seconds",
        "after {n} seconds tell me {x} and after {m} seconds tell me {y}",
    ),
    heldout=(
        "in {n} seconds say {x} and say {y} in {m} seconds", "say {x} after {n} seconds and say {y} after {m} seconds",
        "tell me {x} in {n} seconds and tell me {y} in {m} seconds",
        "in {n} seconds tell me {x} and {y} in {m} seconds",
    ),
)  # fmt: skip

STOP = Wordings(
    train=(
        "stop", "stop it", "that is enough", "stop now", "please stop", "okay stop", "you can stop now", "enough",
        "you can stop", "stop please", "that is enough now", "now stop", "enough now", "okay enough",
    ),
    heldout=("please stop now", "okay that is enough", "stop it now", "please stop it"),
)  # fmt: skip

CUE = Wordings(
    train=(
        "say {x} whenever i say {y}", "whenever i say {y} say {x}", "each time you hear {y} answer {x}",
        "when i say {y} you say {x}", "every time i say {y} say {x}", "if you hear {y} say {x}",
        "say {x} each time i say {y}", "answer {x} whenever you hear {y}", "as soon as i say {y} say {x}",
        "each time i say {y} tell me {x}", "say {x} when i say {y}", "whenever you hear the word {y} say {x}",
        "when you hear {y} say {x}", "when you hear me say {y} answer {x}", "whenever i say {y} tell me {x}",
        "whenever i say {y} answer {x}", "each time i say {y} answer {x}", "say {x} if you hear {y}",
        "tell me {x} when i say {y}", "tell me {x} whenever you hear {y}", "every time you hear the word {y} say {x}",
        "answer {x} every time i say {y}", "as soon as you hear {y} say {x}", "say {x} every time you hear {y}",
        "if you hear the word {y} answer {x}", "when i say the word {y} tell me {x}",
        "i want you to say {x} when i say {y}", "if you hear me say {y} say {x}",
    ),
    heldout=(
        "if i say {y} say {x}", "whenever you hear {y} answer {x}", "every time you hear {y} tell me {x}",
        "answer {x} each time i say {y}", "say {x} as soon as i say {y}", "when you hear the word {y} say {x}",
    ),
)  # fmt: skip

COUNT = Wordings(
    train=(
        "count the {x}", "count my {x}", "count the {x} out loud", "count out loud", "count with me",
        "count the {x} for me",
        "count how many {x} i do", "tell me how many {x} i do", "count every one of my {x}",
        "i want you to count my {x}",
        "count each of the {x}", "count my {x} with me", "count while i do {x}",
        "count {x} for me", "count while you see my {x}", "count my {x} now", "count as i do my {x}",
        "tell me how many {x} you see", "say how many {x} i do", "let me hear you count my {x}",
        "count each one of my {x}", "i would like you to count my {x}", "count the {x} you see",
    ),
    heldout=(
        "count my {x} out loud", "count the {x} with me", "count my {x} for me", "tell me how many {x} you count",
        "i want you to count the {x}", "count out loud how many {x} i do",
    ),
)  # fmt: skip


def combination_split(*words: str) -> Split:
    """The split that a combination of content words belongs to, by a stable hash (the order of the words matters)."""
    share = zlib.crc32(" ".join(words).encode()) / 2**32
    return "heldout" if share < HELDOUT_SHARE else "train"
