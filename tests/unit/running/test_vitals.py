"""What the kernel knows of a process."""

from __future__ import annotations

import os

import psutil
import pytest

from tidings.running.vitals import Load, vitals


def test_memory_and_time_are_the_kernels() -> None:
    found = vitals(os.getpid())
    assert found is not None
    assert found.memory == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    times = psutil.Process().cpu_times()
    assert found.cpu == pytest.approx(times.user + times.system, abs=0.1)


def test_a_process_that_is_gone_has_none() -> None:
    assert vitals(2**22 + 1) is None  # above the kernel's greatest id


def test_load_is_the_time_spent_between_two_looks() -> None:
    load = Load()
    assert load.of(1, cpu=10.0, now=100.0) == 0.0
    assert load.of(1, cpu=10.5, now=102.0) == 0.25
    assert load.of(2, cpu=3.0, now=102.0) == 0.0
    assert load.of(1, cpu=10.5, now=102.0) == 0.0
