"""What every connection of a lookup must answer: a database, a service for many keys or for one."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from tidings.ports import LookupFailed, Query
from tidings.stores.lookups import Connection
from tidings.stores.lookups_http import HttpConnection
from tidings.stores.lookups_sql import SqlConnection

ROWS: dict[str, dict[str, Any]] = {
    "17": {"id": 17, "plan": "pro", "zone": "Europe/Madrid"},
    "18": {"id": 18, "plan": "free", "zone": None},
    "x' or '1'='1": {"id": "x' or '1'='1", "plan": "sly", "zone": None},
    "a/b ñ": {"id": "a/b ñ", "plan": "odd", "zone": None},
}
SQL = Query("crm", "select id, plan, zone from customers where id in :keys", "id", 5_000, 60_000)
EACH = SQL._replace(text="/customers/{key}")
TOGETHER = SQL._replace(text="/customers")


class Service(ThreadingHTTPServer):
    """The rows over HTTP; keeps what it was asked. ``answer`` stands in for what it would say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/"
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.answer: tuple[int, bytes] | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        row = ROWS.get(unquote(self.path.removeprefix("/v1/customers/")))
        self._answer(b"", 200 if row else 404, row)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        keys = [str(key) for key in json.loads(body)["keys"]]
        self._answer(body, 200, {key: ROWS[key] for key in keys if key in ROWS})

    def _answer(self, body: bytes, status: int, value: Any) -> None:
        service = self.server
        service.requests.append((self.command, self.path, dict(self.headers), body))
        assert service.may_answer.wait(30)
        status, content = service.answer or (status, json.dumps(value).encode())
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield service
        finally:
            service.may_answer.set()
            service.shutdown()
            thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


@pytest.fixture
def database(tmp_path: Path) -> str:
    file = tmp_path / "crm.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("create table customers (id, plan text, zone text)")
        rows = [(row["id"], row["plan"], row["zone"]) for row in ROWS.values()]
        connection.executemany("insert into customers values (?, ?, ?)", rows)
    return f"sqlite:///{file}"


class Asked(NamedTuple):
    """A connection, and how it is asked for customers."""

    connection: Connection
    query: Query


@pytest.fixture(params=["sql", "http for each", "http together"])
def crm(request: pytest.FixtureRequest) -> Iterator[Asked]:
    if request.param == "sql":
        with closing(SqlConnection("crm", request.getfixturevalue("database"))) as found:
            yield Asked(found, SQL)
    else:
        url = request.getfixturevalue("service").url
        with closing(HttpConnection("crm", url)) as http:
            yield Asked(http, EACH if request.param == "http for each" else TOGETHER)


def test_the_rows_that_there_are_come_by_key(crm: Asked) -> None:
    assert crm.connection.fetch(crm.query, [17, 99, 18]) == {"17": ROWS["17"], "18": ROWS["18"]}


@pytest.mark.parametrize("key", ["x' or '1'='1", "a/b ñ"])
def test_a_key_is_a_key_whatever_it_says(crm: Asked, key: str) -> None:
    assert crm.connection.fetch(crm.query, [key]) == {key: ROWS[key]}


def test_none_is_found_where_none_is(crm: Asked) -> None:
    assert crm.connection.fetch(crm.query, ["nobody"]) == {}


def test_many_keys_are_one_question(service: Service, database: str) -> None:
    with closing(HttpConnection("crm", service.url)) as http:
        http.fetch(TOGETHER, list(range(1_000)))
    with closing(SqlConnection("crm", database)) as sql:
        assert len(sql.fetch(SQL, list(range(5_000)))) == 2

    assert len(service.requests) == 1


def test_a_request_carries_the_headers_of_its_connection(service: Service) -> None:
    with closing(HttpConnection("crm", service.url, {"authorization": "Bearer 1"})) as http:
        http.fetch(EACH, [17])

    ((method, path, headers, _),) = service.requests
    assert (method, path) == ("GET", "/v1/customers/17")
    assert headers["authorization"] == "Bearer 1"


def test_a_list_is_taken_by_the_column_that_matches(service: Service) -> None:
    service.answer = 200, json.dumps([*ROWS.values(), "no row", {"plan": "no id"}]).encode()

    with closing(HttpConnection("crm", service.url)) as http:
        assert http.fetch(TOGETHER, [17]) == ROWS


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, b"{}"), "it answered 500"),
        ((302, b""), "it answered 302"),
        ((200, b"<html>"), "its answer is no JSON"),
        ((200, b'"text"'), "the answer is n"),
        ((200, b'{"17": {"plan": "\xff"}}'), "its answer is no JSON"),
        ((200, b'{"17":' + b"[" * 600 + b"]" * 600 + b"}"), "nested deeper than 500 levels"),
    ],
)
@pytest.mark.parametrize("query", [EACH, TOGETHER])
def test_an_answer_that_is_none_is_a_failure(
    service: Service, query: Query, answer: tuple[int, bytes], reason: str
) -> None:
    service.answer = answer

    with (
        closing(HttpConnection("crm", service.url)) as http,
        pytest.raises(LookupFailed, match=reason),
    ):
        http.fetch(query, [17])


def test_a_service_that_hangs_or_is_away_is_a_failure(service: Service) -> None:
    service.may_answer.clear()
    with closing(HttpConnection("crm", service.url)) as http:
        with pytest.raises(LookupFailed, match="timed out"):
            http.fetch(EACH._replace(timeout_ms=50), [17])
        service.may_answer.set()
    with (
        closing(HttpConnection("crm", "http://127.0.0.1:1")) as nobody,
        pytest.raises(LookupFailed),
    ):
        nobody.fetch(EACH, [17])


@pytest.mark.parametrize(
    ("text", "match", "reason"),
    [
        ("select id from nowhere where id in :keys", "id", "no such table: nowhere"),
        ("select plan from customers where id in :keys", "id", "the query gives no column id"),
    ],
)
def test_a_query_that_is_wrong_is_a_failure(
    database: str, text: str, match: str, reason: str
) -> None:
    with (
        closing(SqlConnection("crm", database)) as sql,
        pytest.raises(LookupFailed, match=reason),
    ):
        sql.fetch(SQL._replace(text=text, match=match), [17])


def test_values_come_as_json_has_them(tmp_path: Path) -> None:
    text = "select 17 as id, x'00ff' as blob, 1.5 as price where 17 in :keys"
    with closing(SqlConnection("crm", "sqlite://")) as sql:
        assert sql.fetch(SQL._replace(text=text), [17]) == {
            "17": {"id": 17, "blob": "AP8=", "price": 1.5}
        }


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("crm", "connections.crm: Could not parse"),
        ("oddbase://host/db", "connections.crm: .*oddbase.*install the driver"),
    ],
)
def test_a_database_that_can_not_be_used_is_told_when_it_is_opened(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SqlConnection("crm", url)
