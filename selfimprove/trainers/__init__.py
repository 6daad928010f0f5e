"""The only place that imports TRL."""
