"""The registry and the durable MQTT state on SQLAlchemy Core and SQLite."""
