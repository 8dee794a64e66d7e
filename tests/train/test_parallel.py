"""Two processes that train together do what one does with the rows of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from microturn.model.weights import load
from microturn.train.parallel import Ranks, joined_ranks
from tests.train import tiny, two_ranks

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have trained."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny.fill_bank(folder / "run" / "bank")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tests.train.two_ranks", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_two_processes_are_one_with_the_rows_of_both(folder: Path) -> None:
    """Same losses to 1e-5 in every task, also where one of the ranks has nothing of what the other has, and so weights
    that give them."""
    together = torch.load(folder / "together.pt", weights_only=True)
    alone = two_ranks.trainer(Ranks())
    pairs = two_ranks.halves(folder / "run" / "bank")
    losses = two_ranks.train(alone, [[*first, *second] for first, second in pairs])
    assert together["losses"] == pytest.approx(losses, rel=1e-5)
    for name, value in alone.learner.state_dict().items():
        # The balancing bias moves by a sign: one token that rounding sends to another expert turns it.
        # Muon makes large steps of gradients that are nearly zero, and so of their rounding.
        within = 0.02 if name.endswith("balance_bias_X") else 5e-4
        torch.testing.assert_close(together["learner"][name], value, atol=within, rtol=1e-3, msg=name)


def test_a_whole_run_of_two_processes_is_written_once(folder: Path) -> None:
    run = folder / "run"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["stage"], line["step"]) for line in lines] == [
        (kind, stage, step)
        for stage in ("hear", "hear_again", "decide", "speak", "voice")
        for kind, step in (("train", 2), ("train", 3), ("dev", 3))
    ]
    heldout = next(line for line in lines if line["stage"] == "decide" and line["kind"] == "dev")
    assert heldout["echo/say"][2] == 2 * 11, "each of the ranks told one of the two held-out sessions"
    assert load(run / "weights").config == tiny.model()
    assert sorted(path.name for path in run.iterdir()) == ["bank", "checkpoint.pt", "log.jsonl", "weights"]
    assert (folder / "stderr").read_text().count("weights: ") == 1


def test_a_process_alone_needs_nobody() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    with joined_ranks("cpu") as ranks:
        assert ranks == Ranks(0, 1) and ranks.is_first
        assert ranks.summed([1.0, 2.0]) == [1.0, 2.0] and ranks.gathered("this") == ["this"]
        ranks.share_gradients([parameter], [])
        ranks.wait()
    assert parameter.grad is None
