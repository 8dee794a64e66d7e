"""The losses of the first steps of every task are those on file: who changes them means to.

``python -m tests.train.test_golden`` writes the file anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from microturn import recipes
from microturn.train.tasks import TaskConfig, batches_of
from tests.assistant import stand_in
from tests.train import tiny

GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"
NUM_STEPS = 4
FAMILIES = "families"
TASKS: Mapping[str, TaskConfig] = tiny.TASKS | {
    FAMILIES: TaskConfig(source=recipes.TASKS["decide"].source, tokens=256, max_tokens=128)
}
"""One task of each kind, and the families, whose words have the times of the assistant's voice."""


def losses(name: str, bank: Path) -> list[float]:
    trainer = tiny.trainer(tiny.stage(name, 2 * NUM_STEPS), tasks=TASKS)
    batches = batches_of(name, TASKS[name], tiny.materials(bank), (0,))
    return [float(trainer.train_step(batch)[0]) for batch in islice(batches, NUM_STEPS)]


@pytest.mark.parametrize("name", [*tiny.TASKS, pytest.param(FAMILIES, marks=pytest.mark.assistant)])
def test_golden_losses(name: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == TASKS.keys()
    assert losses(name, tiny.fill_bank(tmp_path)) == pytest.approx(golden[name], rel=1e-4)


def renew() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        stand_in(monkeypatch)
        bank = tiny.fill_bank(Path(folder))
        found = {name: [round(loss, 6) for loss in losses(name, bank)] for name in TASKS}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    renew()
