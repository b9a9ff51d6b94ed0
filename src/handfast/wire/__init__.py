"""The AWS shape machine: botocore's service models drive routing, parsing, validation, serialisation and errors."""
