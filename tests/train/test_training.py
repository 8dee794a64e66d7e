"""The loop: stages in order, stopped and resumed, averages from stage to stage, figures of held-out sessions."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.errors import InputError, WeightsError
from microturn.model.moe import MixtureOfExperts
from microturn.train import loop
from microturn.train.batch import Batch, Head
from microturn.train.loop import Report, Trainer
from microturn.train.parallel import Ranks
from microturn.train.tasks import batches_of
from tests.train import tiny


def batches(task: str, count: int, bank: Path | None = None) -> list[Batch]:
    return list(islice(batches_of(task, tiny.TASKS[task], tiny.materials(bank), (0,)), count))


def losses(trainer: Trainer, given: list[Batch]) -> list[float]:
    return [float(trainer.train_step(batch)[0]) for batch in given]


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint has to bring back, by name."""
    found = {f"learner.{name}": value for name, value in trainer.learner.state_dict().items()}
    found |= {f"averaged.{name}": value for name, value in trainer.averaged.values.items()}
    for which, saved in trainer.optimiser.state_dict().items():
        moments = saved["state"]
        assert isinstance(moments, dict) and moments
        for index, values in moments.items():
            found |= {f"{which}.{index}.{name}": value for name, value in values.items()}
    return {name: value.clone() for name, value in found.items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_restored_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """On the same batches: same losses, weights, averages and moments, to the bit."""
    given = batches("decide", 6)
    straight = tiny.trainer(tiny.stage("decide", 10))
    expected = losses(straight, given)
    first = tiny.trainer(tiny.stage("decide", 10))
    losses(first, given[:3])
    first.save(tmp_path)
    second = tiny.trainer(tiny.stage("decide", 10), seed=5)
    assert second.restore(tmp_path)
    assert (second.stage, second.step) == (0, 3)
    assert_same(state(second), state(first))
    second.config = first.config
    assert losses(second, given[3:]) == expected[3:]
    assert_same(state(second), state(straight))


def test_a_run_that_is_told_to_stop_stops_with_a_checkpoint_and_goes_on_with_new_sessions(tmp_path: Path) -> None:
    stages = tiny.stage("decide", 4), tiny.stage("speak", 2)
    first = tiny.trainer(*stages)
    reports: list[Report] = []

    assert not first.run(tiny.materials(), tmp_path, reports.append, stop=lambda: bool(reports))
    assert (first.stage, first.step) == (0, 2)
    second = tiny.trainer(*stages)
    assert second.restore(tmp_path)
    assert_same(state(second), state(first))
    assert second.run(tiny.materials(), tmp_path, reports.append)
    trained = [(report.stage.name, report.step) for report in reports if report.kind == "train"]
    assert trained == [("decide", 2), ("decide", 4), ("speak", 2)]
    third = tiny.trainer(*stages)
    assert third.restore(tmp_path) and third.done
    assert third.run(tiny.materials(), tmp_path, reports.append)
    assert len([report for report in reports if report.kind == "train"]) == 3, "what is done is not done again"
    assert_same(third.averaged.values, second.averaged.values)


def test_stages_train_their_parts_in_order_each_from_the_average_before(tmp_path: Path) -> None:
    bank = tiny.fill_bank(tmp_path / "bank")
    stages = [
        tiny.stage("hear", 2, "network.hearing.", "phones."),
        tiny.stage("decide", 2, "network.backbone.", "network.embedder.", "network.say."),
        tiny.stage("speak", 2, "network.flow."),
        tiny.stage("voice", 2, "vocoder.", matrix_rate=None),
    ]
    trainer = tiny.trainer(*stages)
    after = {"start": {name: value.clone() for name, value in trainer.averaged.values.items()}}
    entered: list[str] = []

    def snapshot(report: Report) -> None:
        if report.kind == "dev":
            entered.append(report.stage.name)
            after[report.stage.name] = {name: value.clone() for name, value in trainer.averaged.values.items()}

    assert trainer.run(tiny.materials(bank), tmp_path, snapshot)
    assert entered == ["hear", "decide", "speak", "voice"]
    for before, stage in zip(["start", *entered], stages, strict=False):
        for name, value in after[stage.name].items():
            if not name.startswith(stage.optim.parts):
                assert torch.equal(value, after[before][name]), (stage.name, name)
        changed = {name for name, value in after[stage.name].items() if not torch.equal(value, after[before][name])}
        assert all(any(name.startswith(part) for name in changed) for part in stage.optim.parts), stage.name
    assert_same(trainer.learner.state_dict(), trainer.averaged.values)
    for experts in trainer.learner.modules():
        if isinstance(experts, MixtureOfExperts):
            assert experts.balance_bias_X.any()


def test_sentences_are_placed_anew_once_before_a_stage_that_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tiny.fill_bank(tmp_path / "bank")
    placed: list[tuple[int, Path]] = []
    stages = (tiny.stage("hear", 1), replace(tiny.stage("hear", 2), realigns=True))
    trainer = tiny.trainer(*stages)
    monkeypatch.setattr(loop, "realign", lambda bank, _: placed.append((trainer.stage, bank)))

    def in_the_middle() -> bool:
        return (trainer.stage, trainer.step) == (1, 1)

    assert not trainer.run(tiny.materials(bank), tmp_path, lambda _: None, stop=in_the_middle)
    assert placed == [(1, bank)]
    resumed = tiny.trainer(*stages)
    assert resumed.restore(tmp_path) and (resumed.stage, resumed.step) == (1, 1)
    assert resumed.run(tiny.materials(bank), tmp_path, lambda _: None)
    assert placed == [(1, bank)], "not again in the middle of the stage"


@pytest.mark.parametrize(("only", "names"), [("decide", ["decide"]), ("speak", ["speak"])])
def test_only_one_stage(tmp_path: Path, only: str, names: list[str]) -> None:
    trainer = tiny.trainer(tiny.stage("voice", 1), tiny.stage("decide", 1), tiny.stage("speak", 1))
    reports: list[Report] = []
    assert trainer.run(tiny.materials(), tmp_path, reports.append, only=only)
    assert [report.stage.name for report in reports if report.kind == "train"] == names
    assert trainer.run(tiny.materials(), tmp_path, reports.append, only=only), "it is done"
    assert [report.stage.name for report in reports if report.kind == "train"] == names


def test_held_out_families_are_told_with_the_averaged_weights(tmp_path: Path) -> None:
    bank = tiny.fill_bank(tmp_path / "bank")
    stage = replace(tiny.stage("decide", 4), shares={"decide": 0.4, "hear": 0.3, "watch": 0.1, "speak": 0.2})
    trainer = tiny.trainer(stage, dev_steps=2)
    reports: list[Report] = []
    trainer.run(tiny.materials(bank), tmp_path, reports.append)
    dev = [report for report in reports if report.kind == "dev"]
    assert [report.step for report in dev] == [2, 4]
    wanted = {"echo/say", "echo/guess", "echo/flow", "synthesised/words", "synthesised/phones", "watching/phases"}
    for report in dev:
        assert wanted <= report.figures.keys()
        assert all(np.isfinite(figure).all() for figure in report.figures.values())
        counts = {name: count for name, (_, _, count) in report.figures.items()}
        assert counts == {name: count for name, (_, _, count) in dev[0].figures.items()}, "always the same sessions"
    line = json.loads(dev[1].line())
    assert (line["kind"], line["stage"], line["step"]) == ("dev", "decide", 4)
    assert line["echo/say"][2] == counts["echo/say"] > 0
    again = tiny.trainer(stage)
    again.restore(tmp_path)
    for parameter in again.learner.parameters():
        torch.nn.init.zeros_(parameter)
    evaluated = again.evaluate(stage, tiny.materials(bank))
    assert evaluated.keys() == dev[1].figures.keys()
    for name, figure in evaluated.items():
        assert figure == pytest.approx(dev[1].figures[name], rel=1e-5), name


def test_figures_are_means_over_targets_since_the_last_report(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.stage("decide", 3))
    reports: list[Report] = []
    trainer.run(tiny.materials(), tmp_path, reports.append)
    train = [report for report in reports if report.kind == "train"]
    assert [report.step for report in train] == [2, 3]
    stream = batches_of("decide", tiny.TASKS["decide"], tiny.materials(), (0, 0, 0, 0, 0, 0))
    counts = [float(len(batch.targets[Head.SAY].at_P)) for batch in islice(stream, 3)]
    assert [report.figures["decide/say"][2] for report in train] == [counts[0] + counts[1], counts[2]]
    for report in train:
        loss, right, _ = report.figures["decide/say"]
        assert loss > 0 and 0 <= right <= 1
        words = [report.figures[f"decide/say {name}"] for name in ("right", "which", "extra")]
        assert words[0][1] <= words[1][1] <= 1 and {count for _, _, count in words} == {words[0][2]}


def test_the_loss_is_the_sum_of_the_heads_means(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.stage("speak", 1), head_weights={head: float(index) for index, head in enumerate(Head)})
    (batch,) = batches("speak", 1)
    told = trainer.learner(batch)
    weights = trainer.config.head_weights
    expected = sum(weights[head] * float(loss.detach()) / batch.totals[head] for head, loss in told.losses.items())
    assert told.losses.keys() == {Head.GUESS, Head.FLOW}
    assert float(trainer.train_step(batch)[0]) == pytest.approx(expected, rel=1e-5)


def test_memory_is_drawn_shorter_for_some_steps() -> None:
    trainer = tiny.trainer(replace(tiny.stage("decide", 400), short_memory_share=0.5))
    (batch,) = batches("decide", 1)
    drawn = []
    for step in range(100):
        trainer.step = step
        drawn.append(trainer._memory(batch, trainer.config.stages[0]))
    full = sum(memory == trainer.model.memory for memory in drawn)
    assert 30 < full < 70
    assert all(memory.pinned_tokens == trainer.model.memory.pinned_tokens for memory in drawn)


@pytest.mark.parametrize("task", ["hear", "decide", "watch", "speak", "voice"])
def test_half_precision_loses_as_much(task: str, tmp_path: Path) -> None:
    given = batches(task, 4, tiny.fill_bank(tmp_path))
    exact = losses(tiny.trainer(tiny.stage(task, 10)), given)
    rough = losses(tiny.trainer(tiny.stage(task, 10), bfloat16=True), given)
    np.testing.assert_allclose(rough, exact, rtol=0.03)
    # The vocoder keeps its digits; its step has none of Muon's products.
    assert rough[0] != exact[0] or task == "voice"


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: bytes | None) -> None:
    trainer = tiny.trainer(tiny.stage("decide", 2))
    assert not trainer.restore(tmp_path)
    trainer.save(tmp_path)
    path = tmp_path / "checkpoint.pt"
    if damage is None:
        torch.save({"model": trainer.model.to_dict()}, path)
    else:
        path.write_bytes(damage)
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: not a checkpoint"):
        trainer.restore(tmp_path)


def test_a_checkpoint_of_another_size_is_named(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.stage("decide", 2))
    trainer.save(tmp_path)
    larger = Trainer(tiny.model(2), trainer.config, torch.device("cpu"))
    with pytest.raises(WeightsError, match="another size"):
        larger.restore(tmp_path)


def test_a_checkpoint_without_a_part_that_came_later(tmp_path: Path) -> None:
    """Weights that a checkpoint lacks stay as they were made."""
    trainer = tiny.trainer(tiny.stage("decide", 2, "network."))
    losses(trainer, batches("decide", 1))
    trainer.save(tmp_path)
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    for which in ("learner", "averaged"):
        saved[which] = {name: value for name, value in saved[which].items() if not name.startswith("vocoder.")}
    torch.save(saved, path)
    other = tiny.trainer(tiny.stage("decide", 2, "network."), seed=3)
    vocoder = {name: value.clone() for name, value in other.learner.vocoder.state_dict().items()}
    assert other.restore(tmp_path)
    assert_same(other.learner.vocoder.state_dict(), vocoder)
    assert_same(other.learner.network.state_dict(), trainer.learner.network.state_dict())
    assert_same(other.weights("vocoder"), vocoder)


def test_started_from_weights_it_has_them() -> None:
    first, second = tiny.trainer(tiny.stage("decide", 2)), tiny.trainer(tiny.stage("decide", 2), seed=3)
    second.start_from(first.weights("network"), first.weights("vocoder"))
    for part in ("network", "vocoder"):
        assert_same(second.weights(part), first.weights(part))
    assert_same(second.learner.network.state_dict(), first.learner.network.state_dict())


def test_a_stage_of_parts_that_are_not_there() -> None:
    with pytest.raises(InputError, match="brain"):
        tiny.trainer(tiny.stage("decide", 2, "brain."))


def test_ranks_that_do_not_come_first_write_nothing(tmp_path: Path) -> None:
    config = tiny.trainer(tiny.stage("decide", 2)).config
    Trainer(tiny.model(), config, torch.device("cpu"), Ranks(1, 2)).save(tmp_path)
    assert list(tmp_path.iterdir()) == []
