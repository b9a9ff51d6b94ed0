"""The MQTT codec and the sans-IO engine, for 3.1.1 and 5."""
