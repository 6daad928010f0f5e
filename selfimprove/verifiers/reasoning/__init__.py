"""How the claims of a rationale are found and judged exactly; `verifiers/steps.py` puts them together."""
