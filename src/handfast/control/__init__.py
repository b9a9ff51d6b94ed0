"""Handlers for the operations of the iot model and of /handfast/v1, one module per resource."""
