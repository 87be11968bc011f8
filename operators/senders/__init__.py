"""The senders: one file per kind of provider, each with its settings and its `SENDER`.

A sender speaks its provider's protocol and says what an answer means; everything else is the
lane's.
"""
