"""The command, as the tests of the verbs have it."""

from tests.unit.cli.conftest import here, tidings

__all__ = ["here", "tidings"]
