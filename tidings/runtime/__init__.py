"""What runs: the units of work of a process. Nothing here knows Bytewax; ``tidings.compile`` does."""
