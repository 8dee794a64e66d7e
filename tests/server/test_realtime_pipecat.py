"""Pipecat's OpenAI Realtime service against this server: in a Python of its own, for it brings a hundred packages."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from microturn import load
from tests.server.conftest import running

PYTHON = Path(os.environ.get("MICROTURN_PIPECAT", "~/.cache/microturn/pipecat")).expanduser() / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="not installed (scripts/setup pipecat): pipecat-ai")
def test_pipecat_as_it_is() -> None:
    client = Path(__file__).with_name("pipecat_client.py")
    with running(model=load("nano")) as port:
        command = [str(PYTHON), str(client), str(port), "please say coffee"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    made = json.loads(found.stdout.splitlines()[-1])
    assert (made["words"], made["errors"], made["context"]) == ("coffee", [], ["coffee"])
    assert 0.3 < made["sound_bytes"] / 48_000 < 3.0
