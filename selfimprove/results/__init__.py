"""A run from Python: started, read, its texts as tables of others' tools (README.md). See `run`, `rows`, `verify`."""
