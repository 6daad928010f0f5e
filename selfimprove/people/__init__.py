"""People who rate responses, and differ: their ratings, pairs, reward models of cohorts, and who is served by whom.

The `group` of a problem is its family of problems; the people who share a trait, such as an age, are a cohort.
"""
