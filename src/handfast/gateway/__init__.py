"""The MQTT data plane: the asyncio shell round core.mqtt."""
