"""What runs: the units of a process. Bytewax is known to ``tidings.compile.dataflow`` alone."""
