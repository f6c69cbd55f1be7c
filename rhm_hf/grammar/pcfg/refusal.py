"""What a general grammar refuses."""


class NotSupported(ValueError):
    """Something that a source does not have: what, why, and what to do."""

    def __init__(self, what: str, source, why: str, remedy: str):
        super().__init__(f"{what} is not supported for {source.name}: {why}; {remedy}")
