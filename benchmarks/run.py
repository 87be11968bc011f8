"""All benchmarks, one after the other: ``make bench``.

    python -m benchmarks.run [NAME …] [--runs N] [--json FILE]

Each runs in processes of its own and prints its table; the JSON of all goes to FILE.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SUITE: dict[str, list[str]] = {
    "flow": ["benchmarks.flow"],
    "flow-100k": ["benchmarks.flow", "--parts", "flow,plain", "--recipients", "100000",
                  "--events", "1400000"],
    "backtest": ["benchmarks.backtest"],
    "lane": ["benchmarks.lane"],
    "apns": ["benchmarks.apns"],
    "sms": ["benchmarks.sms"],
    "fcm": ["benchmarks.fcm"],
    "mail": ["benchmarks.mail"],
    "latency": ["benchmarks.latency"],
    "isolation": ["benchmarks.isolation"],
    "memory": ["benchmarks.memory"],
    "restart": ["benchmarks.restart"],
    "peers": ["benchmarks.peers"],
}  # fmt: skip
WITH_RUNS = ("flow", "flow-100k", "backtest", "lane")


def main() -> int:
    """Run the suite, or what is named of it; non-zero when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SUITE))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    failed = []
    for name in options.names or SUITE:
        if name not in SUITE:
            parser.error(f"there is no benchmark {name!r}: {', '.join(SUITE)}")
        command = [sys.executable, "-m", *SUITE[name], "--json"]
        if name in WITH_RUNS:
            command += ["--runs", str(options.runs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(name)
            continue
        found[name] = json.loads(done.stdout[done.stdout.index("{") :])
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
