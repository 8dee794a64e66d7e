"""``microturn replay``: take recorded live sessions again and say whether every bit is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What serve --record wrote, or one session of it.")],
    weights: Annotated[
        str | None, typer.Option(help="Where the weights lie now (default: where they were).", show_default=False)
    ] = None,
) -> None:
    """Take recorded sessions again; exit code 1 if anything differs."""
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import fingerprint, load
    from microturn.session.replay import Recorded, recordings
    from microturn.session.replay import replay as take_again
    from microturn.turn import TURN_MS

    use_one_thread()
    sessions = [Recorded(one) for one in recordings(folder)]
    model = load(sessions[0].about.weights if weights is None else weights)
    mark = fingerprint(model)
    for recorded in sessions:
        recorded.check_weights(mark)
    differs = False
    for recorded in sessions:
        replayed = take_again(model, recorded)
        differs = differs or replayed.difference is not None
        length = f"{replayed.num_turns} turns, {replayed.num_turns * TURN_MS / 1000:.1f} s"
        verdict = "the same bits" if replayed.difference is None else f"DIFFERS in {replayed.difference}"
        print(f"{recorded.folder.name}: {length}, states compared: {replayed.num_states}: {verdict}", flush=True)
    if differs:
        raise typer.Exit(1)
