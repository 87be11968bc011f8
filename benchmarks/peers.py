"""The same digest task on the same Kafka by other engines: events per CPU-second, exactness.

    python -m benchmarks.peers [--events N] [--recipients N] [--peers NAMES] [--json]

A topic is filled with the entries of ``tidings.social``; each engine then groups them by recipient,
type and photo in windows of the log's time and produces one record for each digest. The engines
are those of PyPI, each with its own Kafka connectors and windows, as ``benchmarks/peer_scripts``
has them, each in a virtual environment of its own in the cache folder, made at the first run (uv;
Pathway's takes 1.3 GB). Beside them run our flow and ``plain``, as ``benchmarks.flow`` has them:
ours does more (mutes own actions, drops repeats, limits, asks for consent, writes two records).

A peer's clock, and its CPU with all its children, runs from its first record (Pathway's: from the
start of its engine) to its last digest. ``exact`` is the share of an oracle's digests that came
exactly once with the very members; ``accounted`` the share of events in any. Windows of the peers
stand on a grid of the clock, those of ours and of ``plain`` open with their first event. A peer
that cannot be installed or does not run is a row that says so.

Faust (faust-streaming 0.15) is not among them: its tables close their windows by the wall clock
(``Table._del_old_keys``), so that a log read again does not give the same digests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
from confluent_kafka import Consumer, TopicPartition

from benchmarks.digests import (
    ENTRIES,
    ONE,
    STEP,
    Digests,
    create,
    ends,
    fill,
    from_first,
    judged,
    on_grid,
    read,
    rows,
)
from benchmarks.flow import PER_DIGEST
from benchmarks.harness import child, print_table
from tidings.log.address import open_log
from tidings.log.port import TopicSettings
from tidings.services.kafka import Kafka
from tidings.services.kafka.jars import cache_folder
from tidings.services.valkey import Valkey

SCRIPTS = Path(__file__).with_name("peer_scripts")
LIMIT = 90.0  # s, for one peer's run
QUIET = 15.0  # s without a digest, after the first: no more will come
SETTLED = 1.0  # s without a digest, once there are as many as there should be


class Peer(NamedTuple):
    """One engine: its package, pinned; None where it is ours already; the topic it reads."""

    name: str
    package: str | None
    topic: str


PEERS = (
    Peer("bytewax", None, ENTRIES),
    Peer("quixstreams", "quixstreams==3.28.0", ENTRIES),
    Peer("pathway", "pathway==0.33.0", ONE),
)


class Unavailable(Exception):
    """A peer cannot be installed or does not run; says why."""


# ── A peer ────────────────────────────────────────────────────────────────────────────────────


def interpreter(peer: Peer) -> Path:
    """The Python that has the peer's package, installed where it is missing.

    Raises Unavailable where uv cannot install it.
    """
    if peer.package is None:
        return Path(sys.executable)
    folder = cache_folder() / "peers" / peer.package.replace("==", "-")
    python, done = folder / "bin" / "python", folder / "installed"
    if done.exists():
        return python
    uv = str(Path(sys.executable).with_name("uv"))
    sys.stderr.write(f"installing {peer.package} into {folder} …\n")
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), peer.package],
    ):
        try:
            subprocess.run(command, capture_output=True, check=True, text=True, timeout=600)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"does not install: {_reason(error.stderr)}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"does not install: {error}") from error
    done.touch()
    return python


def run_peer(
    peer: Peer, bootstrap: str, window: int, events: int, wanted: Digests
) -> dict[str, Any]:
    """Runs a peer until its digests are all there, or come no more; raises Unavailable."""
    out = f"peers.{peer.name}"
    admin = open_log(f"kafka:{bootstrap}").admin()
    admin.create([TopicSettings(name=out, partitions=1)])
    script = str(SCRIPTS / f"{peer.name}.py")
    # -P: else the script's own folder hides the package that it is named after.
    command = [str(interpreter(peer)), "-P", script, bootstrap, peer.topic, out]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with said.open("wb") as stream:
            process = psutil.Popen(
                [*command, str(window), folder], stdout=stream, stderr=stream, cwd=folder
            )
        try:
            cpu, wall = _watch(process, said, bootstrap, out, len(wanted))
        finally:
            _stop(process)
    produced = [json.loads(message.value()) for message in read(bootstrap, out, {})]
    done, shares = judged(produced, wanted, events)
    if not done or cpu <= 0:
        raise Unavailable("none of its digests holds an event of the topic")
    return {
        "per_cpu_second": round(done / cpu),
        "us": round(cpu / done * 1e6, 2),
        "per_second": round(done / wall),
        **shares,
    }


def _watch(
    process: psutil.Popen, said: Path, bootstrap: str, out: str, wanted: int
) -> tuple[float, float]:
    """CPU and wall seconds from the peer's first record to its last digest."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "watch"})
    place = TopicPartition(out, 0)
    limit = time.monotonic() + LIMIT
    begun: tuple[float, float] | None = None
    last, count = (0.0, 0.0), 0
    cpu = 0.0
    while (now := time.monotonic()) < limit:
        cpu = max(cpu, _cpu(process))  # of a process that has ended there is none
        running = process.poll() is None
        if begun is None and b"reading\n" in said.read_bytes():
            begun = last = (cpu, now)
        if begun is not None:
            end = consumer.get_watermark_offsets(place, timeout=10)[1]
            if end > count:
                last, count = (cpu, now), end
            elif count and now - last[1] > (SETTLED if count >= wanted else QUIET):
                break
        if not running:
            break
        time.sleep(0.05)
    consumer.close()
    ended = process.poll()
    if begun is None or not count or ended:
        why = f"no digest in {LIMIT:.0f} s" if ended is None else f"ended with code {ended}"
        raise Unavailable(f"{why}: {_reason(said.read_text(errors='replace'))}")
    return last[0] - begun[0], last[1] - begun[1]


def _cpu(process: psutil.Popen) -> float:
    """CPU seconds of a process and its children, 0 where it is gone."""
    total = 0.0
    try:
        for one in (process, *process.children(recursive=True)):
            used = one.cpu_times()
            total += used.user + used.system
    except psutil.NoSuchProcess:
        return total
    return total


def _stop(process: psutil.Popen) -> None:
    try:
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        family = [process]
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(10)


def _reason(text: str) -> str:
    """The line of a program's output that says best why it ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return [*(errors or lines or ["it said nothing"])][-1][:100]


# ── Ours ──────────────────────────────────────────────────────────────────────────────────────


def run_ours(
    part: str, bootstrap: str, valkey: str, window: int, counts: tuple[int, int], wanted: Digests
) -> dict[str, Any]:
    """A part of ``benchmarks.flow`` on the same entries; ``counts``: all, the closing ones out."""
    told = "notif_events"
    since = ends(bootstrap, [told])
    arguments = json.dumps([part, bootstrap, valkey, window, counts[0]])
    report = child("benchmarks.flow", "--child", arguments, timeout=LIMIT)
    produced = [msgspec.json.decode(message.value()) for message in read(bootstrap, told, since)]
    digests = [body for body in produced if body.get("members") and body.get("stage") != "end"]
    figures = {name: report[name] for name in ("per_cpu_second", "us", "per_second")}
    return figures | judged(digests, wanted, counts[1])[1]


# ── The run ───────────────────────────────────────────────────────────────────────────────────


def measure(events: int, recipients: int, names: list[str]) -> list[dict[str, Any]]:
    """One row for each engine."""
    window = round(recipients * PER_DIGEST * STEP)
    found = []
    with Kafka() as kafka, Valkey() as valkey:
        bootstrap = kafka.bootstrap
        create(kafka)
        end = int(time.time() * 1000)
        total = fill(bootstrap, ENTRIES, events, recipients, end, window)
        fill(bootstrap, ONE, events, recipients, end, window)
        entries = rows(bootstrap, ENTRIES)
        grid, first = on_grid(entries, window), from_first(entries, window)
        plain = run_ours("plain", bootstrap, valkey.url, window, (total, events), first)
        found.append({"what": "plain", **plain})
        for peer in PEERS:
            if peer.name not in names:
                continue
            what = peer.package or peer.name
            try:
                found.append({"what": what, **run_peer(peer, bootstrap, window, events, grid)})
            except Unavailable as error:
                found.append({"what": f"{what}: {error}"})
        # Last, as it writes marks of its own among the entries.
        ours = run_ours("flow", bootstrap, valkey.url, window, (total, events), first)
    return [{"what": "tidings", **ours}, *found]


def main() -> None:
    """The command line."""
    every = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--recipients", type=int, default=5_000)
    parser.add_argument("--peers", default=",".join(every), help="which of them, by name")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.peers.split(",")
    unknown = set(names) - set(every)
    if unknown:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}: {', '.join(every)}")
    found = measure(options.events, options.recipients, names)
    print_table("A digest by other engines", found, as_json=options.json)


if __name__ == "__main__":
    main()
