"""Where images are scored: in this process (``local``), or by worker processes on one or many machines (``ray``)."""

ENGINES = ("local", "ray")
