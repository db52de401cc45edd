"""Which shipped models a run asks unless it is told otherwise."""

DEFAULT_MODELS = ("router5", "view")
"""Their names; the first decides where a file goes. They stand apart because `--help` needs nothing else."""
