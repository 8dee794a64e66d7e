"""``microturn background`` answers, and says in one line what is wrong with its input."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from microturn.cli import main


def test_it_prints_what_is_said_and_the_cards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home.md").write_text("Buy two loaves of bread.")
    assert main(["background", "search my notes for bread", "--notes", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        "Your note home says, Buy two loaves of bread.\n\n[Notes: bread]\nfile\tline\ttext\n"
        "home.md\t1\tBuy two loaves of bread.\n"
    )
    assert main(["background", "what is 6 times 7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"type": "spoken", "text": "The answer is forty two."}


def test_a_timer_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    began_s = time.monotonic()
    assert main(["background", "set a timer for one second", "--seconds", "0.5"]) == 0
    assert time.monotonic() - began_s >= 1
    assert capsys.readouterr().out == "Timer set for one second.\n[timer: 1 second]\nYour second is over.\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([" "], "REQUEST is empty"),
        (["x" * 5000], "REQUEST has 5000 characters"),
        (["hello", "--notes", "/no/such/folder"], "/no/such/folder: is not a folder of notes"),
        (["hello", "--background-url", "http://127.0.0.1:9/v1"], "--background-url and --background-model go together"),
        (["hello", "--mcp", "servers.json"], "--mcp needs a language model"),
        (["hello", "--background-url", "ftp://x", "--background-model", "m"], "ftp://x: is no address"),
        (["hello", "--background-url", "http://127.0.0.1:9/v1", "--background-model", "m", "--mcp", "/no/file.json"],
         "/no/file.json: Config file"),
        (["hello", "--background-url", "http://127.0.0.1:9/v1", "--background-model", "m"],
         "the background model does not answer (Connection error.)"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["background", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.startswith("microturn: ")
    assert message in printed.err
