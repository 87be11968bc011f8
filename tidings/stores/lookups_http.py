"""Lookups over HTTP: one request for all keys of a batch, or one for each, a few at a time.

text without {key}    POST {"keys": [...]}  →  {"<key>": {...}, ...} or [{...}, ...] by `match`
text with {key}       GET for each          →  {...}; 404 for a key that is not there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from tidings.nesting import check_depth
from tidings.ports import LookupFailed, Query, Row
from tidings.stores.lookups import Key, Rows

LARGEST = 16_000_000  # bytes of an answer


class HttpConnection:
    """A service by the URL that its paths hang on; ``headers`` go along with each request."""

    def __init__(
        self, name: str, url: str, headers: Mapping[str, str] | None = None, concurrency: int = 4
    ) -> None:
        self.name = name
        self.concurrency = concurrency
        self._url = url.rstrip("/")
        self._headers = dict(headers or {})
        # Its own retries would hide how long it really takes.
        self._pool = urllib3.PoolManager(maxsize=concurrency, retries=False)

    def fetch(self, query: Query, keys: Sequence[Key]) -> Rows:
        """The rows of the keys. Raises LookupFailed."""
        if "{key}" not in query.text:
            return self._together(query, keys)
        with ThreadPoolExecutor(self.concurrency) as threads:
            rows = list(threads.map(lambda key: self._one(query, key), keys))
        return {str(key): row for key, row in zip(keys, rows, strict=True) if row is not None}

    def close(self) -> None:
        """Let go of idle connections."""
        self._pool.clear()

    def _together(self, query: Query, keys: Sequence[Key]) -> Rows:
        body = msgspec.json.encode({"keys": list(keys)})
        answer = self._request("POST", query, query.text, body)
        if isinstance(answer, dict):
            return {name: row for name, row in answer.items() if isinstance(row, dict)}
        if isinstance(answer, list):
            return {str(row[query.match]): row for row in answer if _has(row, query.match)}
        raise LookupFailed("the answer is neither an object nor a list")

    def _one(self, query: Query, key: Key) -> Row | None:
        answer = self._request("GET", query, query.text.replace("{key}", quote(str(key), safe="")))
        if answer is None or isinstance(answer, dict):
            return answer
        raise LookupFailed("the answer is no object")

    def _request(self, method: str, query: Query, path: str, body: bytes | None = None) -> Any:
        headers = {"accept": "application/json", **self._headers}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            response = self._pool.request(
                method,
                f"{self._url}/{path.lstrip('/')}",
                body=body,
                headers=headers,
                timeout=query.timeout_ms / 1_000,
                redirect=False,
                preload_content=False,
            )
            content = response.read(LARGEST + 1)
            response.release_conn()
        except HTTPError as error:
            raise LookupFailed(str(error)) from error
        if method == "GET" and response.status == 404:
            return None
        if response.status != 200:
            raise LookupFailed(f"it answered {response.status}")
        if len(content) > LARGEST:
            raise LookupFailed(f"its answer has more than {LARGEST:,} bytes")
        try:
            check_depth(content)
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LookupFailed(f"its answer is no JSON: {error}") from error


def _has(row: Any, name: str) -> bool:
    return isinstance(row, dict) and name in row
