"""Reaching destinations over TCP."""
