"""The log in memory: of one process, on a clock that its owner holds; for tests and backtests.

What was read can be let go (``forget``), so that a long log goes through a small memory.
"""

from tidings.log.memory.log import MemoryLog

__all__ = ["MemoryLog"]
