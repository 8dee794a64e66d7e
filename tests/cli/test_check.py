"""``microturn check`` with small weights: every law is run and told, and a law that is broken is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from microturn.bench import check as laws
from microturn.cli import main
from microturn.errors import InputError
from microturn.model.backbone import Backbone
from microturn.model.microturn import Microturn
from microturn.model.state import State
from microturn.model.weights import load, save
from microturn.session.session import Session
from microturn.turn import TurnInput, TurnOutput
from tests.parity.small import SHORT_MEMORY, small_model

LAWS = [
    "training against streaming",
    "batch against single",
    "any slot",
    "export and import",
    "replay",
    "row isolation",
    "memory over time",
]
SHORTER = {
    "TURNS": 6,
    "COST_TURNS": 3,
    "CAPACITY_TURNS": 2,
    "CAPACITY_SECONDS": 0.5,
    "PAIRED_TURNS": 4,
    "PAST_EDGE_TURNS": 15,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("weights")
    model = small_model(SHORT_MEMORY)
    save(folder, model.config, model.network.state_dict(), model.weights.vocoder, model.tokenizer)
    return str(folder)


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that takes long takes a moment."""
    for name, value in SHORTER.items():
        monkeypatch.setattr(laws, name, value)
    monkeypatch.setattr(laws, "sample_paths", lambda: [laws.SAMPLES / "timer.wav"])


def test_a_sound_model_as_json(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--weights", weights, "--minutes", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is True and found["weights"] == weights
    by_name = {one["name"]: one for one in found["findings"]}
    assert [one["name"] for one in found["findings"] if one["holds"] is not None] == LAWS
    assert len(by_name) == laws.num_findings()
    assert 0.0 < by_name["training against streaming"]["difference"] <= 1e-5
    assert by_name["batch against single"]["turns"] == 8 * SHORTER["TURNS"]
    assert by_name["sessions carried"]["sessions"] >= 0, "on a busy machine there may be none"
    assert by_name["a turn with sound"]["p50_ms"] <= by_name["a turn with sound"]["p99_ms"]
    assert by_name["memory over time"]["session_bytes"] == small_model(SHORT_MEMORY).initial_state(1).num_bytes()
    assert by_name["sample timer.wav"]["heard"], "the small model hears words in everything"


def test_a_table_and_exit_code_one_where_a_law_is_broken(
    weights: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Microturn, "step", leaking(Microturn.step))
    assert main(["check", "--weights", weights, "--minutes", "0.1"]) == 1
    printed = capsys.readouterr().out
    lines = {law: next(line for line in printed.splitlines() if line.startswith(law)) for law in LAWS}
    for law in ("batch against single", "any slot", "row isolation"):
        assert "BROKEN" in lines[law]
    for law in ("training against streaming", "replay", "memory over time"):
        assert "holds" in lines[law]
    assert "a law does not hold on this machine" in printed


Outputs = list[TurnOutput | InputError | None]
Step = Callable[[Microturn, Sequence[TurnInput | None], State], tuple[Outputs, State]]


def leaking(step: Step) -> Step:
    """Rows of one batch hear a little of each other."""

    def changed(model: Microturn, inputs: Sequence[TurnInput | None], state: State) -> tuple[Outputs, State]:
        outputs, after = step(model, inputs, state)
        if len(inputs) == 1:
            return outputs, after
        leaked: Outputs = [
            replace(output, audio=output.audio + np.float32(1e-7)) if isinstance(output, TurnOutput) else output
            for output in outputs
        ]
        return leaked, after

    return changed


def blurring(step: Step) -> Step:
    """Rows of one batch remember a little of each other; nothing of it is heard yet."""

    def changed(model: Microturn, inputs: Sequence[TurnInput | None], state: State) -> tuple[Outputs, State]:
        outputs, after = step(model, inputs, state)
        return outputs, after if len(inputs) == 1 else replace(after, history_RS=after.history_RS + 1e-12)

    return changed


def forgetful(session: type[Session], model: Microturn, data: bytes) -> Session:
    """An import that brings nothing back."""
    return Session.open(model)


def drifting(whole: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def changed(*arguments: object, **named: object) -> Tensor:
        return whole(*arguments, **named) + 2e-5

    return changed


def restless(play: Callable[..., object]) -> Callable[..., object]:
    """Every session has a seed of its own, whatever it was asked for."""
    played = iter(range(100, 200))

    def changed(company: laws.Company, seed: int) -> tuple[list[TurnOutput], bytes]:
        session = Session.open(company.model, seed=next(played))
        return [session.step(given) for given in company.inputs[seed]], session.export()

    return changed


def test_each_law_can_be_broken(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(weights)
    company = laws.Company(model)
    assert company.exported().holds and company.replayed().holds
    with monkeypatch.context() as broken:
        broken.setattr(Microturn, "step", blurring(Microturn.step))
        blurred = company.in_a_batch("batch", 0)
        assert blurred.holds is False and blurred.values["turns_differ"] == 0
    with monkeypatch.context() as broken:
        broken.setattr(Backbone, "whole", drifting(Backbone.whole))
        assert laws.training_against_streaming(model).holds is False
    with monkeypatch.context() as broken:
        broken.setattr(Session, "imported", classmethod(forgetful))
        assert company.exported().holds is False
    with monkeypatch.context() as broken:
        broken.setattr(laws.Company, "_play", restless(laws.Company._play))
        assert company.replayed().holds is False
    with monkeypatch.context() as broken:
        megabytes = iter([100.0, 130.0])
        broken.setattr(laws, "resident_mb", lambda: next(megabytes))
        assert laws.memory(model, 0.1).holds is False


def test_a_slow_machine_breaks_no_law(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It carries no session, and that is all."""
    monkeypatch.setattr(laws, "_times_ms", lambda model, rows, num_turns, pictures: ([5_000.0] * num_turns, 0))
    finding = laws.capacity(load(weights))
    assert finding.holds is None and finding.values["sessions"] == 0


@pytest.mark.parametrize("limit", [1, 5, 8, 13, 239, 240, 400])
def test_the_largest_batch_is_found(weights: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose turns get too slow beyond ``limit`` sessions; 256 is where the search ends."""
    monkeypatch.setattr(laws, "CAPACITY_SECONDS", 1e9)
    tried: list[int] = []

    def times_ms(model: Microturn, rows: int, num_turns: int, pictures: bool) -> tuple[list[float], int]:
        tried.append(rows)
        return [150.0 * rows / limit] * num_turns, 0

    monkeypatch.setattr(laws, "_times_ms", times_ms)
    finding = laws.capacity(load(weights))
    carried = min(laws.MAX_SESSIONS, limit * 160 // 150)
    assert finding.values["sessions"] == carried
    assert finding.figure.startswith("at least") == (carried == laws.MAX_SESSIONS)
    assert len(set(tried)) <= 17
    assert all(tried.count(rows) == (1 if rows <= carried else 2) for rows in tried)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--weights", "nowhere"], "nowhere: neither packaged weights nor a folder"),
        (["--minutes", "0"], "--minutes 0.0: expected"),
        (["--minutes", "-3"], "--minutes -3.0: expected"),
        (["--minutes", "nan"], "--minutes nan: expected"),
        (["--minutes", "1e9"], "--minutes 1000000000.0: expected"),
    ],
)
def test_bad_options(weights: str, options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = options if "--weights" in options else [*options, "--weights", weights]
    assert main(["check", *given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert named in said.err and said.err.count("\n") == 1


def test_every_sample_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = [path.name for path in laws.sample_paths()]
    assert names == sorted(names) and {Path(name).suffix for name in names} == {".wav", ".mp4"}


def test_every_law_holds_on_the_packaged_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--minutes", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["findings"] if one["holds"]] == LAWS
