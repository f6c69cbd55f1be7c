"""The installed version, read from the package's metadata when it is first asked for."""

from importlib.metadata import version


__version__ = version("rhm-hf")
