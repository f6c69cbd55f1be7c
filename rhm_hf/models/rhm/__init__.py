"""The oracle models."""
