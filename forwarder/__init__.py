"""Provable, searchable history of network scans."""

__version__ = "0.1.0"
