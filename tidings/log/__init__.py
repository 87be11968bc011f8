"""The log: a port with two adapters, Apache Kafka and SQLite."""
