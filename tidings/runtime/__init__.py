"""What runs: the units of a process. Nothing here knows Bytewax; ``tidings.compile`` does."""
