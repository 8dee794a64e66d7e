"""``microturn serve``: hold live sessions over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from microturn.cli import agent as options
from microturn.errors import InputError


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need --api-key-file.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    weights: Annotated[str, typer.Option(help="Packaged name, folder, or Hugging Face repository.")] = "nano",
    max_sessions: Annotated[int, typer.Option(min=1, max=256, help="Sessions at most, as the deadline allows.")] = 16,
    max_session_minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="A session is closed after it.")] = 60,
    api_key_file: Annotated[Path | None, typer.Option(help="File of keys, one a line; a client needs one.")] = None,
    allowed_host: Annotated[list[str] | None, typer.Option(help="Name of the server; may be repeated.")] = None,
    allowed_origin: Annotated[
        list[str] | None, typer.Option(help="Origin of other pages that may use it (https://...); may be repeated.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Folder in which every session is recorded.")] = None,
    background: Annotated[
        Literal["offline", "off"],
        typer.Option(help="What the model delegates is done without a language model, or (off) by clients alone."),
    ] = "offline",
    background_url: options.Url = None,
    background_model: options.Model = None,
    key: options.Key = "",
    mcp: options.Mcp = None,
    notes: options.Notes = None,
    ssl_certfile: Annotated[Path | None, typer.Option(help="Certificate, for https and wss.")] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="Its key, if that is in a file of its own.")] = None,
) -> None:
    """Serve live sessions: a page at /, the protocol of docs/protocol.md at /v1/live/sessions."""
    from microturn.server.access import Access, is_loopback, read_keys

    if api_key_file is None and not is_loopback(host):
        raise InputError(f"{host}: is not a loopback address: whoever reaches it could use it, give an --api-key-file")
    if ssl_keyfile is not None and ssl_certfile is None:
        raise InputError("--ssl-keyfile needs --ssl-certfile")
    if background == "off":
        if background_url or background_model or mcp or notes:
            raise InputError("--background off: then nobody would use --background-url, --mcp or --notes")
        agent = None
    else:
        agent = options.agent_of(notes, background_url, background_model, key, mcp, prepare=True)
    access = Access(
        keys=frozenset() if api_key_file is None else read_keys(api_key_file),
        hosts=frozenset(allowed_host or ()),
        origins=frozenset(allowed_origin or ()),
    )
    from microturn.model.microturn import use_one_thread
    from microturn.model.weights import load
    from microturn.server.logs import log_to_stderr
    from microturn.server.serve import ServeConfig, ServerProcess, bind, check_certificate
    from microturn.session.recording import check_folder

    config = ServeConfig(
        model_name=Path(weights).name,
        max_sessions=max_sessions,
        max_session_ms=int(max_session_minutes * 60_000),
        access=access,
        certificate=ssl_certfile,
        certificate_key=ssl_keyfile,
        weights=str(Path(weights).resolve()) if Path(weights).is_dir() else weights,
        record=record,
        agent=agent,
    )
    check_certificate(config)
    if record is not None:
        check_folder(record)
    with bind(host, port) as listening:
        use_one_thread()
        log_to_stderr()
        model = load(weights)
        model.prepare()
        process = ServerProcess(model, config, listening)
        address = f"[{host}]" if ":" in host else host
        scheme = "http" if ssl_certfile is None else "https"
        print(f"{scheme}://{address}:{listening.getsockname()[1]}", flush=True)
        process.run()
