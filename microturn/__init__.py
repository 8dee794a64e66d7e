"""microturn: an open interaction model in micro-turns of 200 ms.

>>> session = Session.open(load("nano"))                                   # doctest: +SKIP
>>> output = session.step(TurnInput(audio=np.zeros(3200, np.float32)))     # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microturn.model.microturn import Microturn
    from microturn.model.weights import load
    from microturn.session.session import Session
    from microturn.turn import TextIn, TextSource, TurnInput, TurnOutput

__all__ = ["Microturn", "Session", "TextIn", "TextSource", "TurnInput", "TurnOutput", "load"]

_HOMES = {
    "Microturn": "microturn.model.microturn",
    "Session": "microturn.session.session",
    "TextIn": "microturn.turn",
    "TextSource": "microturn.turn",
    "TurnInput": "microturn.turn",
    "TurnOutput": "microturn.turn",
    "load": "microturn.model.weights",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that ``microturn --help`` does not load torch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'microturn' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
