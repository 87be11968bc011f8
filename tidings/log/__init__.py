"""The log: a port with two adapters, Apache Kafka and SQLite; ``address.open_log`` gives one."""
