"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no error of the code, and the same examples every time make a failure reproducible.
settings.register_profile("microturn", deadline=None, derandomize=True)
settings.load_profile("microturn")
