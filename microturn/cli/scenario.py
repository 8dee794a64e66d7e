"""``microturn scenario``: write one scenario as media, labels and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from microturn.errors import InputError


def scenario(
    family: Annotated[
        str, typer.Argument(metavar="FAMILY", help="say, time, cue, count, free, idle, or string for several in one.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for user.wav, model.wav, labels.json, timeline.png and frames/.")],
    seed: Annotated[int, typer.Option(help="The same family, seed and split give the same scenario.")] = 0,
    split: Annotated[str, typer.Option(help="train or heldout: voices, wordings and combinations of words.")] = "train",
    data: Annotated[
        Path | None, typer.Option(help="Folder with real recordings to mix in.", envvar="MICROTURN_DATA")
    ] = None,
) -> None:
    """Write one scenario as media, labels and a picture, to listen to and to look at."""
    from microturn.scenario.export import export
    from microturn.scenario.generate import SPLITS, generate

    chosen = next((one for one in SPLITS if one == split), None)
    if chosen is None:
        raise InputError(f"split {split}: unknown, expected one of {', '.join(SPLITS)}")
    made = generate(family, seed, chosen, data=data)
    export(made, out)
    typer.echo(f"{out}: {family}, seed {seed}, {made.num_turns} turns, {len(made.events)} events")
