"""``microturn scenario``: write one scenario as media, labels and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from microturn.split import Split

if TYPE_CHECKING:
    from microturn.scenario.scenario import Scenario


def scenario(
    family: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY",
            help="say, time, cue, count, free, idle, delegate, interrupt, or string for several in one.",
        ),
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
    from microturn.scenario.generate import generate
    from microturn.voices.recordings import check_data

    if data is not None:
        check_data(data)
    made = generate(family, seed, cast(Split, split), data=data)  # which says so if there is no such split
    export(made, out, draw)
    typer.echo(f"{out}: {family}, seed {seed}, {made.num_turns} turns, {len(made.events)} events")


def draw(scenario: Scenario, path: Path) -> None:
    """The picture that ``talk`` would draw if the model did all that it ought to."""
    from microturn.session.timeline import Timeline
    from microturn.session.timeline_picture import draw_timeline
    from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput

    timeline = Timeline(scenario.family)
    heard, said = (
        {turn: "".join(f" {word}" for word in words) for turn, words in labels.items()}
        for labels in (scenario.hear_labels(), scenario.say_labels())
    )
    acts, made = scenario.act_labels(), scenario.model_pcm()
    for turn, speaking in enumerate(scenario.speaking()):
        now = slice(turn * TURN_SAMPLES, (turn + 1) * TURN_SAMPLES)
        sound = None if turn in scenario.gaps else scenario.user[now]
        timeline.add(
            TurnInput(sound, scenario.frames.get(turn), scenario.texts.get(turn, ())),
            TurnOutput(turn, heard.get(turn, ""), said.get(turn, ""), acts.get(turn), speaking, made[now]),
        )
    draw_timeline(timeline, path)
