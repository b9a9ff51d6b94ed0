"""Handlers for the iot-data operations."""
