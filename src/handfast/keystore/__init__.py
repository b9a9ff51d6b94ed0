"""Adapters of the KeyStore port."""
