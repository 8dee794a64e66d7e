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
    import torch
    from rich.console import Console
    from rich.table import Table

    from microturn.language.tokenizer import default_tokenizer
    from microturn.model.config import ModelConfig
    from microturn.model.network import Network
    from microturn.model.state import initial_state
    from microturn.model.vocoder import Vocoder, VocoderConfig
    from microturn.model.weights import load

    if size is None:
        network = load(weights).network
    else:
        network = Network(ModelConfig.of_size(size, vocab_size=default_tokenizer().vocab_size))
    total, active = network.num_parameters()
    state = initial_state(network.config, Vocoder(VocoderConfig()), 1, [0], torch.device("cpu"))
    table = Table(box=None, show_header=False)
    rows = [
        *network.config.describe(),
        ("parameters", f"{total:,}, {active:,} active for a token (vocoder apart)"),
        ("memory of a session", f"{state.num_bytes() / 2**20:.1f} MiB, constant"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)
