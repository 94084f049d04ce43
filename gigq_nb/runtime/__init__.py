"""Processes: the worker that claims and supervises, the children in which functions run."""
