"""``microturn train``: train a recipe from nothing or from weights, or go on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from microturn.errors import InputError


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="nano: the default weights; nano_again: more for weights that are there; nano_gpu: larger.",
        ),
    ] = "nano",
    out: Annotated[Path, typer.Option(help="Folder of the run; a run in it goes on.")] = Path("runs/nano"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with recordings of people to learn from.", envvar="MICROTURN_DATA")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Weights to start from (as for talk --weights), in place of random ones.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage: hear, hear_again, decide, speak, voice.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    bfloat16: Annotated[
        bool | None,
        typer.Option(help="Products in half precision. Default: where the machine multiplies in it."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of every stage.", min=1)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the sessions: with another, weights that go on meet new ones.", min=0)
    ] = None,
    voices: Annotated[int | None, typer.Option(help="Synthesised utterances in the voice bank.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on from there.", min=0.05)
    ] = None,
) -> None:
    """Fill the voice bank, train stage by stage, and write weights that ``talk --weights`` takes.

    Ctrl-C or SIGTERM stops it with a checkpoint, with exit code 130 or 143; the same command goes on from there.
    Several processes train one model: ``torchrun --nproc-per-node 2 -m microturn train ...``.
    """
    from rich.console import Console

    from microturn.recipes import RECIPES
    from microturn.train.run import RunOptions, train_recipe

    if recipe not in RECIPES:
        raise InputError(f"recipe {recipe}: unknown, expected one of {', '.join(RECIPES)}")
    options = RunOptions(
        out=out,
        data=data,
        start=start,
        stage=stage,
        device=device,
        bfloat16=bfloat16,
        steps=steps,
        seed=seed,
        voices=voices,
        threads=threads,
        minutes=minutes,
    )
    number = train_recipe(RECIPES[recipe](), options, Console(stderr=True))
    if number:
        raise typer.Exit(128 + number)
