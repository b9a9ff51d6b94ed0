"""The AWS IoT Core identity plane on your own machines."""

__version__ = "0.1.0"
