"""An exported scenario is a folder that the rest of the package reads, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microturn.cli import main
from microturn.cli.scenario import draw
from microturn.errors import MediaError
from microturn.media.reader import open_media
from microturn.scenario.export import export
from microturn.scenario.generate import generate


def test_a_session_with_pictures_reads_back(tmp_path: Path) -> None:
    scenario = generate("count", 1, "train", assistant=False)
    folder = tmp_path / "one" / "count"
    export(scenario, folder, draw)
    assert {path.name for path in folder.iterdir()} == {
        "user.wav",
        "model.wav",
        "labels.json",
        "timeline.png",
        "frames",
    }
    turns = list(open_media(folder).iter_turns())
    assert len(turns) == scenario.num_turns
    sound = np.concatenate([turn.audio for turn in turns if turn.audio is not None])
    assert np.abs(sound - scenario.user).max() < 1e-3
    shown = {index: turn.frame for index, turn in enumerate(turns) if turn.frame is not None}
    assert shown.keys() == scenario.frames.keys()
    assert all(np.array_equal(shown[turn], scenario.frames[turn]) for turn in shown)
    labels = json.loads((folder / "labels.json").read_text())
    assert [event["words"] for event in labels["events"]] == [event.words for event in scenario.events]
    assert labels["true_count"] == scenario.true_count
    with Image.open(folder / "timeline.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_nothing_is_left_when_it_cannot_be_written(tmp_path: Path) -> None:
    scenario = generate("idle", 1, "train", assistant=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="file"):
        export(scenario, tmp_path / "file", draw)
    (tmp_path / "taken" / "frames").mkdir(parents=True)
    with pytest.raises(MediaError, match="taken: holds the pictures of another scenario"):
        export(scenario, tmp_path / "taken", draw)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "frames", "taken"]


@pytest.mark.assistant
def test_the_command_writes_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "say", "--seed", "3", "--split", "heldout", "--out", str(tmp_path / "say")]) == 0
    assert "say, seed 3" in capsys.readouterr().out
    assert (tmp_path / "say" / "timeline.png").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["scenario", "sing"], "family sing: unknown"),
        (["scenario", "say", "--split", "dev"], "split dev: unknown"),
        (["scenario", "count", "--data", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_exit_code_2(
    arguments: list[str], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert cause in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
