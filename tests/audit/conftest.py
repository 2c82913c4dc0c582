"""Fixtures of the audit's tests."""

from __future__ import annotations

import pytest

from tests.helpers.tiny import Tiny, make_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A dataset with wrong labels and a model to audit it with; leave them as they are."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))
