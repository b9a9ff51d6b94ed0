"""Calling the operator's hooks: webhooks over HTTPS, commands on this machine."""
