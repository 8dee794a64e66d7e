"""A server whose model does what is typed to it: it delegates what ends in "please" and cancels at "never mind".

Everything else is the small model's; but it hears and says nothing, so that a task is what was typed.
``python -m tests.server.delegating PORT WEIGHTS RECORD`` runs it in a process of its own, with an agent that waits.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from microturn.engine.admission import Admission
from microturn.errors import InputError
from microturn.model.microturn import Microturn
from microturn.model.state import State
from microturn.server.access import Access
from microturn.server.serve import ServeConfig, ServerProcess, bind
from microturn.turn import TURN_SAMPLES, Act, TextSource, TurnInput, TurnOutput
from tests.parity.small import small_model


def delegating(model: Microturn) -> Microturn:
    """The model with acts that are typed."""
    obedient = copy.copy(model)

    def obey(inputs: Sequence[TurnInput | None], state: State) -> tuple[list[TurnOutput | InputError | None], State]:
        outputs, after = model.step(inputs, state)
        return [_obeyed(given, made) for given, made in zip(inputs, outputs, strict=True)], after

    vars(obedient)["step"] = obey
    return obedient


def _obeyed(given: TurnInput | None, made: TurnOutput | InputError | None) -> TurnOutput | InputError | None:
    if given is None or not isinstance(made, TurnOutput):
        return made
    typed = " ".join(text.text for text in given.texts if text.source is TextSource.TYPED)
    act = Act.DELEGATE if typed.endswith("please") else Act.CANCEL if typed == "never mind" else None
    silence = np.zeros(TURN_SAMPLES, np.float32)
    return replace(made, hear="", say="", speaking=False, audio=silence, act=act)


def main(port: str, record: str) -> None:
    """Serve until it is killed."""
    from tests.server.jobs import Scripted

    config = ServeConfig("small", 3, 600_000, Access(), record=Path(record), agent=Scripted())
    with bind("127.0.0.1", int(port)) as listening:
        print("ready", flush=True)
        ServerProcess(delegating(small_model()), config, listening, Admission({1: 1.0}, budget_ms=1e9)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
