"""``microturn info``: what a model consists of, and how each size follows from the dial."""

from __future__ import annotations

from typing import Annotated

import typer


def info(
    weights: Annotated[str, typer.Option(help="Packaged name, folder or hub repository.")] = "nano",
    size: Annotated[
        int | None, typer.Option(help="Describe a model of this size instead, without weights.", min=1)
    ] = None,
) -> None:
    """Print every width and depth with its derivation, parameters and the memory of a session."""
    from rich.console import Console
    from rich.table import Table

    from microturn.language.tokenizer import default_tokenizer
    from microturn.model.config import ModelConfig
    from microturn.model.microturn import Microturn
    from microturn.model.network import Network
    from microturn.model.vocoder import Vocoder, VocoderConfig
    from microturn.model.weights import load
    from microturn.session.session import Session

    if size is None:
        model = load(weights)
    else:
        tokenizer = default_tokenizer()
        network = Network(ModelConfig.of_size(size, vocab_size=tokenizer.vocab_size))
        model = Microturn(network, Vocoder(VocoderConfig()), tokenizer)
    total, active = model.network.num_parameters()
    table = Table(box=None, show_header=False)
    for name, value in model.config.describe():
        table.add_row(name, value)
    table.add_row("parameters", f"{total:,}, {active:,} active for a token (vocoder apart)")
    table.add_row("memory of a session", f"{Session.open(model).num_bytes / 2**20:.1f} MiB, constant")
    Console().print(table)
