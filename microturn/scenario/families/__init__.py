"""The scenario families: one builder a file, each a function that adds one scenario to a ``Script``."""

from __future__ import annotations

from collections.abc import Callable

from microturn.scenario.families import count, cue, delegate, free, idle, interrupt, say, time
from microturn.scenario.script import Script

Builder = Callable[[Script], None]

FAMILIES: dict[str, Builder] = {
    "say": say.build,
    "time": time.build,
    "cue": cue.build,
    "count": count.build,
    "free": free.build,
    "idle": idle.build,
    "delegate": delegate.build,
    "interrupt": interrupt.build,
}
