"""The words: one definition of each, for ``gigq-nb WORD`` and for ``%gigq WORD``."""
