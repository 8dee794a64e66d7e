"""What is asked for and handed over (``wordings.ASKED``), and what jobs bring (``wordings.BROUGHT``).

Sums and units come out right, and the rest is made up. What matters is that its words are ones that nobody could guess:
they are to be said as they come. In training one in four of the words that may be anything is one of the commonest of
English that the lexicon does not have; for testing it is one that training does not have (``lexicon.UNSEEN``).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from microturn.background.calculate import calculate
from microturn.background.spoken import cardinal, number_text, ordinal, spoken
from microturn.language import lexicon
from microturn.language.common import NUM_NEW_WORDS, common_words
from microturn.language.wordings import (
    ASKED,
    BROUGHT,
    CORRECT,
    combination_split,
    pick,
    plain_sentence,
)
from microturn.split import Split

HOLDS: Mapping[str, str] = {
    "sum": "let me see", "units": "let me see", "days": "let me see", "meaning": "let me look", "notes": "let me look",
    "facts": "let me think", "errand": "one moment", "clock": "one moment",
}  # fmt: skip
"""By kind of request, what is said at once."""
THINGS = (*lexicon.OBJECTS, *lexicon.ANIMALS, *lexicon.FOODS, *lexicon.PLACES)
FACTORS: Mapping[tuple[str, str], int] = {
    ("minutes", "seconds"): 60, ("hours", "minutes"): 60, ("days", "hours"): 24, ("weeks", "days"): 7,
    ("years", "months"): 12, ("years", "days"): 365, ("feet", "inches"): 12, ("miles", "feet"): 5280,
    ("kilometers", "meters"): 1000, ("pounds", "kilograms"): 0, ("miles", "kilometers"): 0,
}  # fmt: skip
"""From a unit to a smaller one; what is no whole number (0) is made up."""
NEW_SHARE = 0.25
"""Of the words that may be anything: those that training does not have, or has only here."""

Slots = dict[str, str]


@dataclass(frozen=True)
class Asked:
    """A request, what the model says at once and what the job says in the end; and words that put the request right,
    with what the job says then (both empty if there is nothing to change)."""

    kind: str
    text: str
    hold: str
    result: str
    correction: str = ""
    corrected: str = ""


def draw_asked(rng: np.random.Generator, split: Split, *, correctable: bool = False) -> Asked:
    """A request of the split; with ``correctable`` one that can be put right."""
    kinds = tuple(kind for kind in ASKED if kind in CHANGED or not correctable)
    kind = pick(rng, kinds)
    slots = _slots(kind, rng, split, {})
    text = ASKED[kind].draw(rng, split, polite=True, **slots)
    asked = Asked(kind, text, HOLDS[kind], _brought(kind, rng, split, slots))
    if not correctable:
        return asked
    changed = CHANGED[kind]
    kept = {name: value for name, value in slots.items() if name not in (changed, "r")}
    while (new := _slots(kind, rng, split, kept))[changed] == slots[changed]:
        pass
    correction = CORRECT.draw(rng, split, polite=False, x=new[changed])
    return Asked(kind, text, HOLDS[kind], asked.result, correction, _brought(kind, rng, split, new))


def _slots(kind: str, rng: np.random.Generator, split: Split, kept: Slots) -> Slots:
    """Slots of a request, some of them given; all of them together are a combination of the split."""
    if kind not in DRAWN:
        return {}
    while True:
        slots = DRAWN[kind](rng) | kept
        if combination_split(kind, *slots.values()) == split:
            break
    if kind == "sum":
        slots["r"] = spoken(number_text(calculate(f"{slots['n']} {slots['how']} {slots['m']}")))
    if kind == "units":
        factor = FACTORS[slots["x"], slots["y"]]
        slots["r"] = spoken(number_text(calculate(f"{slots['n']} times {factor}"))) if factor else _number(rng, 2, 300)
    return slots


def _sum(rng: np.random.Generator) -> Slots:
    how = pick(rng, ("plus", "minus", "times"))
    largest = 20 if how == "times" else 120
    return {"n": _number(rng, 0, largest), "how": how, "m": _number(rng, 0, largest)}


def _units(rng: np.random.Generator) -> Slots:
    start, end = list(FACTORS)[int(rng.integers(len(FACTORS)))]
    return {"n": _number(rng, 2, 60), "x": start, "y": end}


def _date(rng: np.random.Generator) -> str:
    return f"{pick(rng, lexicon.MONTHS)} {ordinal(int(rng.integers(1, 31)))}"


def _errand(rng: np.random.Generator) -> Slots:
    day = pick(rng, lexicon.WEEKDAYS) if rng.random() < 0.7 else _date(rng)
    return {"x": pick(rng, lexicon.NAMES), "y": day}


DRAWN: Mapping[str, Callable[[np.random.Generator], Slots]] = {
    "sum": _sum,
    "units": _units,
    "days": lambda rng: {"x": pick(rng, lexicon.WEEKDAYS) if rng.random() < 0.2 else _date(rng)},
    "meaning": lambda rng: {"x": pick(rng, (*THINGS, *lexicon.ADJECTIVES, *lexicon.VERBS))},
    "notes": lambda rng: {"x": pick(rng, (*THINGS, *lexicon.NAMES, *lexicon.OTHERS))},
    "facts": lambda rng: {"x": pick(rng, THINGS)},
    "errand": _errand,
}
"""The slots of a request by its kind."""
CHANGED: Mapping[str, str] = {
    "sum": "m", "units": "n", "days": "x", "meaning": "x", "notes": "x", "facts": "x", "errand": "y",
}  # fmt: skip
"""What a correction changes."""


def _brought(kind: str, rng: np.random.Generator, split: Split, slots: Slots) -> str:
    template = pick(rng, BROUGHT[kind].of(split))
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name and name not in slots]
    made: Slots = {}
    for name in names:
        made[name] = MADE_UP[name](rng, split) if name in MADE_UP else open_word(rng, split)
    return template.format(**slots, **made)


MADE_UP: Mapping[str, Callable[[np.random.Generator, Split], str]] = {
    "k": lambda rng, split: _number(rng, 2, 400),
    "d": lambda rng, split: pick(rng, lexicon.WEEKDAYS),
    "t": lambda rng, split: _clock(rng),
    "s": plain_sentence,
}
"""What is made up for results, by slot; all other slots are words."""


def _number(rng: np.random.Generator, low: int, high: int) -> str:
    return cardinal(str(rng.integers(low, high + 1)))


def _clock(rng: np.random.Generator) -> str:
    hour, minute = _number(rng, 1, 12), _number(rng, 2, 29)
    return pick(
        rng,
        (f"{hour} {minute}", f"{minute} past {hour}", f"half past {hour}", f"quarter to {hour}", f"{hour} o'clock"),
    )


def open_word(rng: np.random.Generator, split: Split) -> str:
    """A word that may be anything."""
    if rng.random() >= NEW_SHARE:
        return pick(rng, lexicon.CONTENT if rng.random() < 0.6 else lexicon.COMMON)
    return pick(rng, _new_words() if split == "train" else lexicon.UNSEEN)


@cache
def _new_words() -> tuple[str, ...]:
    known = {*lexicon.CONTENT, *lexicon.COMMON, *lexicon.UNSEEN}
    return tuple(word for word in common_words()[:NUM_NEW_WORDS] if word not in known)
