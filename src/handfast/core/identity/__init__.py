"""Accounts, certificates, things and policies as records, and the certificate lifecycle."""
