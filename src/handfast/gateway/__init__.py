"""The MQTT data plane: connections, routing, Keep Alive, behind `handfast.seam`."""
