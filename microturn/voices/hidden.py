"""Engines that are installed, perhaps, and not to be used: so any machine can show what one without them does.

The environment variable ``MICROTURN_HIDE_ENGINES`` names them ("flite,festival,pico,kokoro"). It is read at every
question, so that it may change while a process runs.
"""

from __future__ import annotations

import os

from microturn.errors import InputError

VARIABLE = "MICROTURN_HIDE_ENGINES"
OPTIONAL_ENGINES = ("flite", "festival", "pico", "kokoro")
"""Engines that a machine may lack; espeak-ng comes with the package."""


def hidden(engine: str) -> bool:
    """Whether ``engine`` counts as not installed. Raises ``InputError`` if the variable names no such engine."""
    names = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")} - {""}
    if unknown := sorted(names.difference(OPTIONAL_ENGINES)):
        raise InputError(f"{VARIABLE}: {unknown[0]!r} is none of {', '.join(OPTIONAL_ENGINES)}")
    return engine in names
