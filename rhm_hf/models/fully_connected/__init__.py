"""Fully connected networks: shallow, deep and lazy."""
