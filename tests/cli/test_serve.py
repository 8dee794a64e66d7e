"""``microturn serve``: what is wrong with its options, and a process that ends properly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

import microturn
from microturn.cli import main
from tests.server.conftest import small_weights


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0: is not a loopback address"),
        (["--host", "::"], "give an --api-key-file"),
        (["--host", "0.0.0.0", "--api-key-file", "none"], "none: cannot be read as a file of keys"),
        (["--ssl-keyfile", "key.pem"], "--ssl-keyfile needs --ssl-certfile"),
        (["--ssl-certfile", "none.pem"], "none.pem: no certificate with its key"),
        (["--background", "off", "--notes", "."], "--background off: then nobody would use"),
        (["--background-url", "http://127.0.0.1:9/v1"], "--background-url and --background-model go together"),
        (["--notes", "/no/such/folder"], "/no/such/folder: is not a folder of notes"),
        (["--weights", "none", "--port", "0"], "none: neither packaged weights nor a folder"),
    ],
)
def test_bad_options(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: cannot be listened on" in capsys.readouterr().err


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_ended_says_goodbye(tmp_path: Path, end: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(microturn.__file__).parent.parent)}
    command = [
        sys.executable,
        "-m",
        "microturn",
        "serve",
        "--port",
        "0",
        "--weights",
        str(small_weights(tmp_path / "s")),
    ]
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")

        async def talk() -> str:
            async with connect(f"ws{address[4:]}/v1/live/sessions") as client:
                await client.send(json.dumps({"type": "session.start", "session": {"model": "s"}}))
                assert json.loads(await client.recv())["type"] == "session.started"
                process.send_signal(end)
                while (event := json.loads(await client.recv()))["type"] != "session.closed":
                    pass
                return str(event["reason"])

        assert asyncio.run(talk()) == "remote_hangup"
        assert process.wait(20) == 0
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert [line["event"] for line in lines if line["level"] == "info"] == [
        "serving",
        "session_started",
        "session_ended",
        "stopped",
    ]
