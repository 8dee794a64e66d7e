"""Scenarios by family name, practice and rehearsals among them: what training mixtures are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from microturn.scenario import practice, rehearsal, spelling, watching
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.split import Split


def make_scenario(family: str, seed: int, split: Split, data: Path | None) -> Scenario:
    """A scenario of ``family``, a name of a family, of its rehearsal, or of a practice.

    Every other session of typed practice has no microphone: its turns are gaps. Raises ``InputError`` for an unknown
    family, ``VoiceError`` if a voice is missing.
    """
    if family == practice.FAMILY:
        scenario = practice.practice(seed, split)
        return scenario if seed % 2 else replace(scenario, gaps=frozenset())
    if family == spelling.FAMILY:
        return spelling.spelling(seed, split)
    if family == watching.FAMILY:
        return watching.watching(seed, split, data)
    if family.startswith(rehearsal.PREFIX):
        return rehearsal.rehearsal(family, seed, split)
    return generate(family, seed, split, data=data)
