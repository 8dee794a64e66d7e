"""``microturn train`` whole, with a recipe of seconds: stop, go on, weights that load, weights to start from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from microturn import recipes
from microturn.cli import main
from microturn.errors import VoiceError
from microturn.language.common import common_words
from microturn.model.weights import load
from microturn.train.loop import StageConfig
from microturn.train.run import RunOptions, words_needed
from tests.train import tiny


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """``microturn train`` in ``tmp_path/run``, which has a voice bank, with the recipes ``tiny`` and ``larger``."""
    monkeypatch.setitem(recipes.RECIPES, "tiny", tiny.recipe)
    monkeypatch.setitem(recipes.RECIPES, "larger", partial(tiny.recipe, 2))

    def run(recipe: str, *options: str, out: str = "run") -> int:
        bank = tmp_path / out / "bank"
        if not bank.exists() and recipe in recipes.RECIPES:
            tiny.fill_bank(bank)
        given = ["--out", str(tmp_path / out), "--voices", "1", "--threads", "1", *options]
        return main(["train", recipe, *given])

    return run


def lines(folder: Path) -> list[tuple[str, str, int]]:
    """Kind, stage and step of what was logged."""
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["kind"], line["stage"], line["step"]) for line in logged]


def test_a_whole_run(train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All stages in order, figures of both kinds, weights that load; what is done is not done again."""
    assert train("tiny") == 0
    expected = [
        (kind, stage, step)
        for stage in ("hear", "hear_again", "decide", "speak", "voice")
        for kind, step in (("train", 2), ("train", 3), ("dev", 3))
    ]
    assert lines(tmp_path / "run") == expected
    written = load(tmp_path / "run" / "weights")
    assert written.config == tiny.model() and written.weights.vocoder.config == tiny.VOCODER
    shown = capsys.readouterr().err
    assert "held out" in shown
    for stage in ("hear", "hear_again", "decide", "speak", "voice"):
        assert f"stage {stage}: 3 steps to go, about 0 minutes" in shown
    assert "in all about 0.0 hours" in shown
    assert train("tiny") == 0
    assert lines(tmp_path / "run") == expected
    shown = capsys.readouterr().err
    assert "weights:" in shown and "to go" not in shown
    assert train("tiny", "--stage", "hear") == 2
    assert "stage hear: is over in" in capsys.readouterr().err and lines(tmp_path / "run") == expected


def test_a_run_out_of_time_goes_on(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("tiny", "--stage", "speak", "--steps", "100000", "--minutes", "0.05") == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "of 100000 (speak), checkpoint written; the same command goes on" in shown and "weights:" not in shown
    stopped = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert stopped["stage"] == 3 and stopped["step"] < 100_000
    assert train("tiny", "--stage", "speak", "--steps", str(stopped["step"] + 1)) == 0
    assert lines(tmp_path / "run")[-1] == ("dev", "speak", stopped["step"] + 1)
    assert (tmp_path / "run" / "weights" / "config.json").exists()


ENDLESS = """
import sys
from dataclasses import replace
from microturn import recipes
from microturn.cli import main
from tests.train import tiny

def endless():
    recipe = tiny.recipe(num_steps=10**6)
    return replace(recipe, train=replace(recipe.train, num_workers=1))

recipes.RECIPES["tiny"] = endless
sys.exit(main(["train", "tiny", "--threads", "1", "--out", *sys.argv[1:]]))
"""


def interrupted(number: signal.Signals, code: int, begun: Callable[[], bool], out: Path, *options: str) -> str:
    """What an endless run says that gets a signal when it has ``begun``; nothing of it may be left."""
    command = [sys.executable, "-c", ENDLESS, str(out), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            while process.poll() is None and not begun():
                time.sleep(0.1)
            os.killpg(process.pid, number)
            _, shown = process.communicate(timeout=60)
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, shown
    return shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_while_its_bank_is_filled(number: signal.Signals, code: int, tmp_path: Path) -> None:
    def begun() -> bool:
        return any((tmp_path / "bank").glob("synthesised-train-*.partial"))

    shown = interrupted(number, code, begun, tmp_path, "--stage", "hear", "--voices", "40000")
    assert "stopped at step 0 of 1000000 (hear), checkpoint written" in shown and "Traceback" not in shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_a_checkpoint(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """As from a terminal: the whole group of processes is told, the one that makes sessions too."""
    log = tmp_path / "log.jsonl"
    shown = interrupted(number, code, lambda: log.exists() and bool(log.read_text()), tmp_path, "--stage", "speak")
    stopped = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert shown.splitlines()[-1] == (
        f"stopped at step {stopped['step']} of 1000000 (speak), checkpoint written; the same command goes on"
    )
    assert stopped["stage"] == 3 and "Traceback" not in shown and not (tmp_path / "weights").exists()


def test_one_stage_from_weights(train: Callable[..., int], tmp_path: Path) -> None:
    assert train("tiny", "--stage", "voice", "--steps", "1") == 0
    weights = tmp_path / "run" / "weights"
    assert train("tiny", "--stage", "decide", "--steps", "1", "--start", str(weights), out="again") == 0
    assert {stage for _, stage, _ in lines(tmp_path / "again")} == {"decide"}
    first, second = load(weights), load(tmp_path / "again" / "weights")
    for name, value in first.weights.vocoder.state_dict().items():
        assert torch.equal(second.weights.vocoder.state_dict()[name], value), name
    assert torch.equal(first.network.flow.reader.letter.weight, second.network.flow.reader.letter.weight)
    before, after = (trained.network.embedder.payload.weight.detach() for trained in (first, second))
    assert 0 < float((after - before).norm()) < 0.05 * float(before.norm())


def test_weights_that_go_on_meet_new_sessions_by_another_seed(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one it is the recipe's."""
    recipe = replace(tiny.recipe(), train=replace(tiny.recipe().train, seed=3))
    monkeypatch.setitem(recipes.RECIPES, "seeded", lambda: recipe)
    assert train("tiny", "--stage", "voice", "--steps", "1") == 0
    go_on = ("--stage", "decide", "--steps", "1", "--start", str(tmp_path / "run" / "weights"))
    trained = []
    runs = (("tiny", "--seed", "3"), ("seeded",), ("tiny", "--seed", "4"))
    for number, (name, *seed) in enumerate(runs):
        assert train(name, *go_on, *seed, out=f"run{number}") == 0
        trained.append(load(tmp_path / f"run{number}" / "weights").network.embedder.payload.weight)
    assert torch.equal(trained[0], trained[1]) and not torch.equal(trained[0], trained[2])


def test_what_does_not_fit_is_said_in_one_line(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for recipe, options, named in (
        ("huge", [], "recipe huge: unknown, expected one of nano"),
        ("tiny", ["--stage", "sing"], "stage sing: recipe tiny has hear, hear_again, decide, speak, voice"),
        ("tiny", ["--device", "abacus"], "device abacus"),
        ("tiny", ["--data", str(tmp_path / "nowhere")], "nowhere: not a folder"),
        ("tiny", ["--data", str(tmp_path)], "none of speech/, sounds/ and video/repcount/ there"),
        ("tiny", ["--start", "nowhere"], "nowhere: neither packaged weights nor a folder"),
        ("tiny", ["--out", str(tmp_path / "file")], "file: cannot be made a folder"),
    ):
        assert train(recipe, *options, out="bad") == 2, options
        shown = capsys.readouterr().err
        assert named in shown and shown.count("\n") == 1, shown
    assert not (tmp_path / "bad" / "log.jsonl").exists()


def test_a_gpu_that_is_not_there(train: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert train("tiny", "--device", "cuda") == 2
    assert "device cuda: torch finds 0 GPUs" in capsys.readouterr().err


def test_a_run_of_another_size(train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("tiny", "--stage", "speak", "--steps", "1") == 0
    capsys.readouterr()
    assert train("larger") == 2
    assert "checkpoint.pt: belongs to a model of another size" in capsys.readouterr().err
    assert train("larger", "--start", str(tmp_path / "run" / "weights"), out="larger") == 2
    assert "weights of another size than recipe tiny" in capsys.readouterr().err


def test_a_missing_voice_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise VoiceError("the assistant's voice is not installed")

    for module in ("sessions", "voice"):
        monkeypatch.setattr(f"microturn.train.{module}.assistant_voice", missing)
    assert main(["train", "nano", "--out", str(tmp_path / "run")]) == 2
    assert "not installed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_words_of_the_voice_are_made_for_the_stages_that_have_it_say_some(tmp_path: Path) -> None:
    config = recipes.nano().train

    def needed(stage: str | None) -> set[str]:
        return set(words_needed(config, RunOptions(out=tmp_path, stage=stage)))

    assert needed("hear") == set()
    common = {"the", "b.", "mountain", *(word for word in common_words()[500:600] if len(word) > 1)}
    assert common <= needed("decide") < needed("speak") == needed(None)
    watching = replace(config, stages=(StageConfig(name="watch", num_steps=1, shares={"watch": 1.0}),))
    assert words_needed(watching, RunOptions(out=tmp_path)) == ()


def test_words_are_made_before_the_first_step(
    train: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(words: Iterable[str], stop: Callable[[], bool]) -> Iterator[int]:
        assert list(words) == ["red", "b."] and not stop()
        yield 1
        raise VoiceError("the words cannot be kept")

    monkeypatch.setattr("microturn.train.run.words_needed", lambda *_: ("red", "b."))
    monkeypatch.setattr("microturn.train.run.make_words", cannot)
    assert train("tiny", "--stage", "speak", "--steps", "1") == 2
    assert "the words cannot be kept" in capsys.readouterr().err
