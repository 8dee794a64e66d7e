"""Scenarios by family, seed and split: the same three give the same bits where the same voices are installed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from microturn.errors import InputError
from microturn.language.lexicon import CONTENT
from microturn.scenario.families import FAMILIES
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script
from microturn.split import Split
from microturn.turn import TURN_MS
from microturn.voices.catalogue import Voice

STRING = "string"
"""The family name of several scenarios joined in one session."""
SPLITS: tuple[Split, ...] = ("train", "heldout")
PART_MS = 45_000.0
"""Length of one part of a long string, before its last scenario is over."""


def generate(
    family: str,
    seed: int,
    split: Split,
    *,
    voice: Voice | None = None,
    content: tuple[str, ...] = CONTENT,
    data: Path | None = None,
    assistant: bool = True,
    sound: bool = True,
) -> Scenario:
    """One scenario of ``family`` (a key of ``FAMILIES``, or ``string``).

    ``data`` is a folder with real recordings (``speech/``, ``sounds/``, ``video/``) to mix in; ``voice`` speaks in
    place of voices of the split, and requests are about words of ``content``. Without ``assistant`` the model's side is
    silent (words are evenly spaced and its voice need not be installed); the user's side stays the same. Without
    ``sound`` nothing of the user is heard, only the times of the words are made (``script.timed_words``). Raises
    ``InputError`` for an unknown family or split and ``VoiceError`` if a voice is missing.
    """
    if family == STRING:
        target_ms = float(_generator(STRING, seed, split, 1).uniform(15_000.0, 35_000.0))
        return generate_string(
            seed, split, target_ms, voice=voice, content=content, data=data, assistant=assistant, sound=sound
        )
    if family not in FAMILIES:
        raise InputError(f"family {family}: unknown, expected one of {', '.join([*FAMILIES, STRING])}")
    script = Script(
        _generator(family, seed, split),
        split,
        voice=voice,
        content=content,
        data=data,
        assistant=assistant,
        sound=sound,
    )
    script.kind = family
    FAMILIES[family](script)
    return script.finish(family, tail_ms=float(script.rng.uniform(600.0, 1500.0)))


def generate_string(
    seed: int,
    split: Split,
    target_ms: float,
    *,
    voice: Voice | None = None,
    content: tuple[str, ...] = CONTENT,
    data: Path | None = None,
    assistant: bool = True,
    sound: bool = True,
) -> Scenario:
    """Two or more scenarios of any family on one clock, 0.5 to 2 s apart, until ``target_ms`` is reached.

    Half of the time another voice goes on; a rule is ended with "stop" before the next scenario. Each event's ``kind``
    is its own family. Raises as ``generate``.
    """
    rng = _generator(STRING, seed, split)
    script = Script(rng, split, voice=voice, content=content, data=data, assistant=assistant, sound=sound)
    script.strung = True
    scenarios = 0
    while scenarios < 2 or script.now_ms < target_ms:
        if scenarios:
            script.wait_until(script.busy_until_ms)
            script.pause(500.0, 2000.0)
            if rng.random() < 0.5:
                script.change_speaker()
        script.kind = str(rng.choice(list(FAMILIES)))
        FAMILIES[script.kind](script)
        scenarios += 1
    script.true_count = script.penultimate_end_ms = None
    return script.finish(STRING, tail_ms=float(rng.uniform(600.0, 1500.0)))


def string_parts(
    seed: int,
    split: Split,
    target_ms: float,
    *,
    voice: Voice | None = None,
    content: tuple[str, ...] = CONTENT,
    data: Path | None = None,
    assistant: bool = True,
) -> Iterator[tuple[int, Scenario]]:
    """A session of at least ``target_ms``, made piece by piece: yields (first turn, part), one after the other.

    Times within a part count from its own first turn. Every part ends with nothing left to say.
    """
    first_turn = 0
    part_seed = _generator(STRING, seed, split, 2).integers(2**31)
    while first_turn * TURN_MS < target_ms:
        part = generate_string(
            int(part_seed), split, PART_MS, voice=voice, content=content, data=data, assistant=assistant
        )
        yield first_turn, part
        first_turn += part.num_turns
        part_seed += 1


def _generator(family: str, seed: int, split: Split, stream: int = 0) -> np.random.Generator:
    if split not in SPLITS:
        raise InputError(f"split {split}: unknown, expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise InputError(f"seed {seed}: must not be negative")
    return np.random.default_rng([zlib.crc32(family.encode()), seed, SPLITS.index(split), stream])
