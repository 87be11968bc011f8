"""Tidings: notifications as a stream. A flow decides, a lane delivers, the ledger proves."""

__version__ = "0.1.0"
