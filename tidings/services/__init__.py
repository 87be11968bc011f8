"""Real servers on loopback for tests, benchmarks, the demo and people: Kafka, Valkey, nginx.

Each is a `Server`: `start()` returns once it answers, `stop()` is clean, `kill()` is SIGKILL, and
`start()` again finds the same ports and the same data. None outlives the process that started it.
"""
