"""Random SIGKILLs of workers, children and submitters, then the file and the jobs' own ledger are compared. ``make chaos``."""
