"""OCSP responders, asked over HTTP: a driven adapter."""
