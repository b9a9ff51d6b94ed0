"""Provisioning: the template language, and the plan that a template makes for one device."""
