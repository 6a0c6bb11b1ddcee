"""The end of an engine, for whoever has to know of it without an engine."""


class EngineDied(RuntimeError):
    """The engine's process is gone or its weights are in pieces: start a new `Sampler`."""
