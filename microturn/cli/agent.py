"""The options that say who the background model is, and the agent that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microturn.errors import InputError

if TYPE_CHECKING:
    from microturn.background.job import Agent

Notes = Annotated[Path | None, typer.Option(help="Folder of notes and documents (.txt, .md) to search.")]
Url = Annotated[
    str | None, typer.Option(help="OpenAI-compatible server (http://HOST:PORT/v1); without one: no language model.")
]
Model = Annotated[str | None, typer.Option(help="Name of its model.")]
Key = Annotated[
    str, typer.Option(envvar="MICROTURN_BACKGROUND_KEY", help="Its key; from the environment.", show_default=False)
]
Mcp = Annotated[Path | None, typer.Option(help='File {"mcpServers": ...} of tool servers for the model.')]


def agent_of(
    notes: Path | None, url: str | None, model: str | None, key: str, mcp: Path | None, *, prepare: bool = False
) -> Agent:
    """``prepare``: load now what the first request would wait for. Raises ``InputError``."""
    from microturn.background.notes import Notes as Folder
    from microturn.background.offline import OfflineAgent
    from microturn.background.tools import Tools

    tools = Tools(Folder(notes) if notes is not None else None)
    if (url is None) != (model is None):
        raise InputError("--background-url and --background-model go together")
    if prepare:
        tools.prepare()
    if url is None or model is None:
        if mcp is not None:
            raise InputError("--mcp needs a language model: give --background-url and --background-model")
        return OfflineAgent(tools)
    try:
        from microturn.background.agent import Endpoint, ModelAgent, read_servers
    except ImportError as error:
        raise InputError(f"--background-url needs pip install 'microturn[background]' ({error})") from error
    return ModelAgent(Endpoint(url, model, key), tools, servers=[] if mcp is None else read_servers(mcp))
