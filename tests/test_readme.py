"""The README's Python runs as it stands, and what it says of the default weights' typed answers is true."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from microturn import Session, TextIn, TextSource, TurnInput, load

README = Path(__file__).parent.parent / "README.md"


def test_readme_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "200", "400", "600", "800"]


@pytest.mark.parametrize("words", ["red", "banana"])
def test_the_default_weights_say_a_typed_word(words: str) -> None:
    """Typed in the third turn, said aloud from the fourth, and then silence."""
    session = Session.open(load("nano"))
    outputs = []
    for turn in range(12):
        texts = (TextIn(TextSource.TYPED, f"please say {words}"),) if turn == 2 else ()
        outputs.append(session.step(TurnInput(audio=None, texts=texts)))
    assert "".join(output.say for output in outputs).split() == [words]
    assert not any(output.speaking for output in outputs[:3])
    assert outputs[3].speaking and np.abs(outputs[3].audio).max() > 0.05
    assert not outputs[-1].speaking
