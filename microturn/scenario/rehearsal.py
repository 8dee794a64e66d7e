"""Rehearsal: the sessions of the families without the user's sound.

What to do when is learnt from the words and their times as well as from sound, and making such a session takes no
synthesis of the user's side: the words are given to the hear lane, and there is nothing to hear.
"""

from __future__ import annotations

from dataclasses import replace

from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.split import Split

PREFIX = "rehearsed "


def rehearsed(family: str) -> str:
    """The name of a family's rehearsal."""
    return PREFIX + family


def rehearsal(name: str, seed: int, split: Split) -> Scenario:
    """A scenario of the family that ``name`` rehearses. Raises ``InputError`` for an unknown family."""
    scenario = generate(name.removeprefix(PREFIX), seed, split, sound=False)
    return replace(scenario, family=name)
