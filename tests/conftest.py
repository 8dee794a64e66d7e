"""Settings of all tests, and the markers of those that need a voice or a browser that is not in the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import pytest
from hypothesis import settings

from tests.assistant import stand_in
from tests.server.page.browser import installed as browser_installed

# A busy machine is no error of the code, and the same examples every time make a failure reproducible.
settings.register_profile("microturn", deadline=None, derandomize=True)
settings.load_profile("microturn")


def missing_speakers(engine: str, speakers: Sequence[str] = ()) -> list[str]:
    """Which of an engine's ``speakers`` (all that are used here, if none are named) this machine lacks or hides."""
    module = import_module(f"microturn.voices.{engine}")
    installed = module.installed()
    return [speaker for speaker in speakers or module.SPEAKERS if speaker not in installed]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked ``needs_engine(engine, *speakers)`` or ``needs_browser`` where that is missing."""
    if item.get_closest_marker("needs_browser") and not browser_installed():
        pytest.skip("not installed (scripts/setup browser): chromium and playwright-core")
    for marker in item.iter_markers("needs_engine"):
        engine, *speakers = marker.args
        if missing := missing_speakers(engine, speakers):
            pytest.skip(f"not installed (make voices): {', '.join(f'{engine}/{speaker}' for speaker in missing)}")


@pytest.fixture(autouse=True)
def _assistant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tests marked ``assistant`` its words are buzzes, and its voice need not be installed."""
    if request.node.get_closest_marker("assistant"):
        stand_in(monkeypatch)
