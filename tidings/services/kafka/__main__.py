"""Kafka for people: `make kafka`, or `python -m tidings.services.kafka run`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tidings.services.kafka import jars
from tidings.services.kafka.broker import Kafka
from tidings.services.process import ServiceError


def main() -> int:
    """Fetches Kafka (`fetch`), or runs it in the foreground until Ctrl-C or SIGTERM (`run`)."""
    parser = argparse.ArgumentParser(prog="python -m tidings.services.kafka", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch Kafka into the cache, unless it is there")
    run = commands.add_parser("run", help="run one broker in the foreground")
    run.add_argument("--port", type=int, default=9092)
    run.add_argument("--folder", type=Path, help="its data; default: temporary, removed at the end")
    options = parser.parse_args()
    try:
        if options.command == "fetch":
            jars.java()
            jars.fetch()
        else:
            _run(Kafka(options.folder, port=options.port))
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _run(broker: Kafka) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a background job ignores it
        signal.signal(number, signal.default_int_handler)
    with broker:
        print(f"Kafka is up: {broker.bootstrap}   (Ctrl-C stops it)", file=sys.stderr, flush=True)
        broker.wait()
        raise ServiceError(f"Kafka ended by itself\n{broker.log_tail()}")


if __name__ == "__main__":
    sys.exit(main())
