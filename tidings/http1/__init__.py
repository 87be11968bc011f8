"""HTTP/1.1 for providers that speak nothing newer: aiohttp's client, as a sender wants it.

    pool = Pool("https://api.example.com", Limits(connections=50))
    await pool.open()
    pool.request("POST", "/v1/messages", headers, body, done)

A POST is made once and never again: what aiohttp says of a failure is told as a fate, *not sent* or
*unknown*, and the caller decides.
"""

from tidings.http1.pool import Limits, Pool, Response, Result
from tidings.http2 import Failure, Fate

__all__ = ["Failure", "Fate", "Limits", "Pool", "Response", "Result"]
