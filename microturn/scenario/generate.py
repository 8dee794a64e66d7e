"""Scenarios by family, seed and split: the same three give the same bits where the same voices are installed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Unpack

import numpy as np

from microturn.errors import InputError
from microturn.scenario.families import FAMILIES
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Given, Script
from microturn.split import SPLITS, Split
from microturn.turn import TURN_MS

STRING = "string"
"""The family name of several scenarios joined in one session."""
STRUNG: Mapping[Split, tuple[str, ...]] = {
    "train": tuple(FAMILIES),
    "heldout": tuple(family for family in FAMILIES if family not in ("delegate", "interrupt")),
}
"""The families of a string. Of held-out ones words are scored and nothing else is."""
STRING_MS: Mapping[Split, tuple[float, float]] = {"train": (15_000.0, 120_000.0), "heldout": (15_000.0, 35_000.0)}
"""How long a string is at least, silence included."""
PART_MS = 45_000.0
"""Length of one part of a long string, before its last scenario is over."""


def generate(family: str, seed: int, split: Split, **given: Unpack[Given]) -> Scenario:
    """One scenario of ``family`` (a key of ``FAMILIES``, or ``string``).

    Raises ``InputError`` for an unknown family or split and ``VoiceError`` if a voice is missing.
    """
    if family == STRING:
        target_ms = float(_generator(STRING, seed, split, 1).uniform(*STRING_MS[split]))
        return generate_string(seed, split, target_ms, **given)
    if family not in FAMILIES:
        raise InputError(f"family {family}: unknown, expected one of {', '.join([*FAMILIES, STRING])}")
    script = Script(_generator(family, seed, split), split, **given)
    script.kind = family
    FAMILIES[family](script)
    return script.finish(family, tail_ms=float(script.rng.uniform(600.0, 1500.0)))


def generate_string(
    seed: int, split: Split, target_ms: float, families: Sequence[str] = (), **given: Unpack[Given]
) -> Scenario:
    """Two or more scenarios of ``families`` (``STRUNG`` by default) on one clock, 0.5 to 2 s apart (in training
    sometimes more), until ``target_ms`` is reached.

    Half of the time another voice goes on; a rule is ended with "stop" before the next scenario. Events have the
    ``kind`` that they have in their own family. Raises as ``generate``.
    """
    rng = _generator(STRING, seed, split)
    script = Script(rng, split, **given)
    script.strung = True
    scenarios = 0
    while scenarios < 2 or script.now_ms < target_ms:
        if scenarios:
            script.wait_until(script.busy_until_ms)
            script.pause(500.0, 2000.0)
            script.fall_silent()
            if rng.random() < 0.5:
                script.change_speaker()
        script.kind = str(rng.choice(families or STRUNG[split]))
        FAMILIES[script.kind](script)
        scenarios += 1
    script.true_count = script.penultimate_end_ms = None
    return script.finish(STRING, tail_ms=float(rng.uniform(600.0, 1500.0)))


def string_parts(
    seed: int, split: Split, target_ms: float, families: Sequence[str] = (), **given: Unpack[Given]
) -> Iterator[tuple[int, Scenario]]:
    """A session of at least ``target_ms``, made piece by piece: yields (first turn, part), one after the other.

    Times within a part count from its own first turn. Every part ends with nothing left to say.
    """
    first_turn = 0
    part_seed = int(_generator(STRING, seed, split, 2).integers(2**31))
    while first_turn * TURN_MS < target_ms:
        part = generate_string(part_seed, split, PART_MS, families, **given)
        yield first_turn, part
        first_turn += part.num_turns
        part_seed += 1


def _generator(family: str, seed: int, split: Split, stream: int = 0) -> np.random.Generator:
    if split not in SPLITS:
        raise InputError(f"split {split}: unknown, expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise InputError(f"seed {seed}: must not be negative")
    return np.random.default_rng([zlib.crc32(family.encode()), seed, SPLITS.index(split), stream])
