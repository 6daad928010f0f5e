"""Web pages over the store and the lineage: what a model wrote, what was kept, what was thrown away and why."""
