"""A lean HTTP/2 client for one kind of request: a small POST over TLS, many at a time.

    Pool ──► Link (one place: connect, watch, replace) ──► Connection (the wire)

Made for providers of push messages, who take one message a request and tens of thousands of
requests a second. General clients spend their time on what such a request never needs: an object
for each frame and event, a task or a Future for each request, a state machine for each stream.
Here a stream is an entry in a dict, a time-out is a mark in a list of stream ids, an answer is a
callback, and a batch of requests is one write.

What a general client knows about danger is kept: every request is answered exactly once, either
with a `Response`, or with a `Failure` that says whether the server may have acted on it
(`Fate.UNKNOWN`) or surely did not (`Fate.NOT_SENT`).
"""

from tidings.http2.limits import Limits
from tidings.http2.link import Origin
from tidings.http2.message import Failure, Fate, Head, Request, Response, Result, literal
from tidings.http2.pool import Pool

__all__ = [
    "Failure",
    "Fate",
    "Head",
    "Limits",
    "Origin",
    "Pool",
    "Request",
    "Response",
    "Result",
    "literal",
]
