"""The operators: what a flow or a lane is made of, one file each.

This folder is the package `tidings.operators`: a link in a checkout, real files in an installed
Tidings. Nothing here imports the engine above it, reads a clock or opens a socket; the senders,
which speak to providers, are the one exception.
"""
