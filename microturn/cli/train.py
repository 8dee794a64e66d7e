"""``microturn train``: train a recipe from nothing, or go on with a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from microturn.errors import InputError


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="nano: the default weights.")] = "nano",
    out: Annotated[Path, typer.Option(help="Folder of the run; a run in it goes on.")] = Path("runs/nano"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with real recordings to mix in.", envvar="MICROTURN_DATA")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of the recipe's.", min=1)] = None,
    records: Annotated[
        int | None, typer.Option(help="Scenarios in the corpus, instead of the recipe's.", min=1)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on from there.", min=0.1)
    ] = None,
) -> None:
    """Make the corpus, train the network and its voice, and write weights that ``talk --weights`` takes."""
    import time
    from dataclasses import replace

    import torch
    from rich.console import Console

    from microturn import recipes
    from microturn.model.tokens import default_tokenizer
    from microturn.model.weights import save
    from microturn.train.data import load_records
    from microturn.train.run import Run, show_corpus
    from microturn.train.voice import train_voice

    if recipe not in recipes.RECIPES:
        raise InputError(f"recipe {recipe}: unknown, expected one of {', '.join(recipes.RECIPES)}")
    chosen = recipes.RECIPES[recipe](data)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    torch.set_num_threads(threads or os.cpu_count() or 1)
    train_config = chosen.train if steps is None else replace(chosen.train, num_steps=steps)
    corpus = chosen.corpus if records is None else replace(chosen.corpus, num_records=records)
    console = Console(stderr=True)
    tokenizer = default_tokenizer()
    shards = show_corpus(console, out / "corpus", corpus, recipes.make_scenario)
    dev_shards = show_corpus(console, out / "dev", chosen.dev_corpus, recipes.make_scenario)
    run = Run(out, chosen.model, train_config, chosen.data, chosen.augment, tokenizer, torch.device(device))
    done = run.train(load_records(shards), load_records(dev_shards), console, deadline)
    if not done:
        console.print(f"stopped at step {run.trainer.step} of {train_config.num_steps}; the same command goes on")
        return
    vocoder = train_voice(out, console)
    save(out / "weights", chosen.model, run.trainer.weights(), vocoder, tokenizer)
    console.print(f"weights: {out / 'weights'}")
