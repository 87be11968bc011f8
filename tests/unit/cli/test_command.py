"""The command itself: its verbs, its words for failures, its exit codes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.cli.command import Command
from tidings import __version__


def test_help_names_every_verb(tidings: Command) -> None:
    said = tidings("--help")
    assert said.code == 0
    verbs = [line.split()[0] for line in said.out.partition("Commands:\n")[2].splitlines()]
    assert verbs == [
        *("demo", "dev", "check", "test", "backtest", "graph"),
        *("deploy", "run", "receipts", "emit", "tail", "tap"),
        *("list", "schema", "devices", "topics", "dlq", "new", "simulate"),
    ]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, tidings.cli\n"
        "heavy = {'bytewax', 'pydantic', 'msgspec', 'rich', 'redis', 'confluent_kafka', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_wrong_usage_exits_with_2(tidings: Command) -> None:
    assert tidings("chek").code == 2
    assert tidings("emit").code == 2
    assert tidings("run", "x.yaml", "--part", "half").code == 2
    assert tidings("schema").code == 2
    assert tidings("deploy", "flows").code == 2


@pytest.mark.parametrize("group", ["devices", "dlq", "new", "simulate", "topics"])
def test_a_group_of_verbs_names_them_where_none_is_given(tidings: Command, group: str) -> None:
    assert "Commands:" in tidings(group).err + tidings(group).out


def test_a_bug_exits_with_3_and_its_trace(
    tidings: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("tidings.cli.app", broken)
    said = tidings("list")
    assert said.code == 3
    assert "Traceback (most recent call last):" in said.err
    assert said.err.endswith("ZeroDivisionError: a bug\n")


def test_list_names_operators_and_providers(tidings: Command) -> None:
    said = tidings("list")
    assert said.code == 0
    operators, _, providers = said.out.partition("\nProviders\n")
    named = {line.split()[0] for line in operators.splitlines()[1:]}
    assert {"filter", "dedupe", "digest", "limit", "consent", "deliver", "send"} <= named
    assert {"apns", "sandbox"} <= {line.split()[0] for line in providers.splitlines()}


# ── run, before it runs ───────────────────────────────────────────────────────────────────────

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - deliver: {to: push, template: order_update, category: orders}
"""


def test_a_lane_wants_a_priority(here: Path, tidings: Command) -> None:
    (here / "sms.yaml").write_text("lane: sms\nsteps:\n  - send: {default: sandbox}\n")
    assert tidings("run", "sms.yaml") == (
        1,
        "",
        "sms.yaml: a lane serves one priority, and none was given: "
        "tidings run sms.yaml --priority high|normal|low\n",
    )


def test_a_folder_is_run_as_the_files_in_it(here: Path, tidings: Command) -> None:
    lanes = here / "flows/lanes"
    lanes.mkdir(parents=True)
    (lanes / "push.yaml").write_text("lane: push\nsteps: [addresses, render, send: sandbox]\n")
    said = tidings("run", "flows/lanes", "--priority", "low")
    assert said.code == 1
    assert "deliveries.push.low" in said.err
    assert "make them by: tidings topics apply --sources flows/lanes/push.yaml\n" in said.err


def test_missing_topics_are_named_with_what_makes_them(here: Path, tidings: Command) -> None:
    (here / "shop.yaml").write_text(FLOW)
    assert tidings("run", "shop.yaml") == (
        1,
        "",
        f"these topics are missing in sqlite:{here}/data/log: deliveries.push.normal, "
        "notif_dlq.flow, notif_events, shop.events\n"
        "make them by: tidings topics apply --sources shop.yaml\n"
        "or start with --create-topics\n",
    )


def test_a_flow_without_state_has_no_flow_part(here: Path, tidings: Command) -> None:
    (here / "shop.yaml").write_text(FLOW)
    assert tidings("run", "shop.yaml", "--part", "flow", "--create-topics") == (
        1,
        "",
        "shop.yaml: shop keeps no state, its intake is all of it\n",
    )


def test_a_wrong_file_is_refused_with_its_problems(here: Path, tidings: Command) -> None:
    (here / "shop.yaml").write_text(FLOW.replace("deliver:", "delivr:"))
    said = tidings("run", "shop.yaml")
    assert said.code == 1
    assert "shop.yaml:4:5  error[unknown-operator]  shop.delivr" in said.err
    assert "did you mean `deliver`?" in said.err


@pytest.mark.parametrize("group", ["", "devices", "dlq", "new", "simulate", "topics"])
def test_no_short_help_is_cut(
    tidings: Command, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = tidings(*filter(None, [group, "--help"]))
    commands = said.out.partition("Commands:\n")[2].splitlines()
    assert commands
    assert [line for line in commands if line.endswith("...")] == []


def test_it_says_which_it_is(tidings: Command) -> None:
    assert tidings("--version") == (0, f"tidings {__version__}\n", "")


def test_list_with_a_name_shows_all_of_an_operator_or_of_a_provider(tidings: Command) -> None:
    throttle = tidings("list", "throttle")
    assert throttle.code == 0
    assert throttle.out.startswith("## throttle\n\nLets events pass at a rate of `at_most`")
    assert "| `burst` | number |" in throttle.out
    assert "step: {throttle: {at_most: 2, within: 10m, by: [sensor]}}" in throttle.out
    smtp = tidings("list", "smtp")
    assert "`providers: {NAME: {kind: smtp, …}}`" in smtp.out
    assert "| `host` | text | must be given | The server's name. |" in smtp.out


def test_list_knows_what_was_meant(tidings: Command) -> None:
    assert tidings("list", "digst") == (1, "", "there is no `digst`: did you mean `digest`?\n")


def test_at_a_narrow_terminal_a_page_keeps_to_its_width() -> None:
    wide = at_a_terminal(60, "list", "throttle")
    assert "Lets events pass at a rate of at_most in within, and drops" in wide
    assert max(map(len, wide.splitlines())) <= 60


def at_a_terminal(columns: int, *arguments: str) -> str:
    """What the command writes to a terminal of this width, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    ended = subprocess.Popen(
        [sys.executable, "-m", "tidings.cli", *arguments],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": ""},
    )
    os.close(theirs)
    found = b""
    with suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 65_536):
            found += piece
    os.close(ours)
    assert ended.wait(30) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", found.decode()).replace("\r\n", "\n")


def test_a_full_disk_is_told_in_a_sentence(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "tidings.cli", "schema", "flow"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (ended.returncode, ended.stderr) == (1, "the output: No space left on device\n")
