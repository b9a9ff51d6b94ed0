"""The AWS IoT policy language: parse, match, evaluate."""
