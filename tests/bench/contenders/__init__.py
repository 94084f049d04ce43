"""Who takes part. Each contender's library is imported only in the processes that measure it."""

from importlib import import_module

from tests.bench.contenders.base import Contender, Unable

# name -> the module in this folder and the class in it
WHERE = {
    "gigq_nb": ("gigq_nb", "GigqNb"),
    "gigq_nb-process": ("gigq_nb", "GigqNbProcess"),
    "gigq": ("gigq", "Gigq"),
    "gigq-shipped": ("gigq", "GigqShipped"),
    "huey": ("huey", "Huey"),
    "huey-shipped": ("huey", "HueyShipped"),
    "dask": ("dask", "Dask"),
    "ipyparallel": ("ipyparallel", "IPyParallel"),
    "loky": ("loky", "Loky"),
    "sqlite": ("sqlite", "PlainSqlite"),
}

# The columns of the table: what stands above each, and the package whose version is reported. (The frame measure fills
# pandas' column.)
COLUMNS = {
    "gigq_nb": ("gigq_nb", "gigq-nb"),
    "gigq_nb-process": ("gigq_nb, no fsync", None),
    "gigq": ("gigq", "gigq"),
    "huey": ("huey", "huey"),
    "dask": ("dask*", "distributed"),
    "ipyparallel": ("ipyparallel*", "ipyparallel"),
    "loky": ("loky*", "loky"),
    "pandas": ("pandas", "pandas"),
    "sqlite": ("plain SQLite", None),
}

# What survives a kill of every process, other than ours: the ones to beat.
DURABLE_PEERS = ("gigq", "huey")


def column(contender: str) -> str:
    """The column in which a contender's figures stand: as tuned and as shipped share one, in different rows."""
    return contender.removesuffix("-shipped")


def load(name: str) -> type[Contender]:
    module, kind = WHERE[name]
    return getattr(import_module(f"tests.bench.contenders.{module}"), kind)


__all__ = ["COLUMNS", "DURABLE_PEERS", "WHERE", "Contender", "Unable", "column", "load"]
