"""What each principle of a run's constitution changed, by DuckDB."""

from selfimprove.errors import StoreError
from selfimprove.store.query import Query

FIGURES = """
    WITH said AS (
        SELECT principle, constitution, count(*) AS drawn, count(*) FILTER (found) AS found, sum(tokens) AS tokens
        FROM critique WHERE NOT is_held_out(stage) GROUP BY ALL
    ), became AS (
        SELECT v.principle, v.constitution, count(*) AS revised,
               count(*) FILTER (NOT list_contains(v.marks, 'unchanged')) AS changed,
               count(*) FILTER (v.kept) AS kept,
               count(*) FILTER (list_contains(v.marks, 'refusal')) AS refusals,
               count(*) FILTER (list_contains(v.marks, 'leak')) AS leaks,
               count(*) FILTER (list_contains(v.marks, 'exemplar')) AS copied,
               count(*) FILTER (list_contains(v.marks, 'about itself')) AS about_itself,
               count(*) FILTER (v.before <> 'undecided' AND v.after <> 'undecided') AS checked,
               count(*) FILTER (v.before = 'correct' AND v.after <> 'undecided') AS passed_before,
               count(*) FILTER (v.after = 'correct' AND v.before <> 'undecided') AS passed_after,
               count(*) FILTER (v.parents[3] IS NULL) AS direct,
               sum(r.tokens) AS tokens
        FROM revision v JOIN rationale r ON r.id = v.parents[1] AND NOT is_held_out(r.stage)
        WHERE NOT is_held_out(v.stage) GROUP BY ALL
    ), compared AS (
        SELECT v.principle, v.constitution, count(*) AS compared,
               count(*) FILTER (CASE WHEN c.parents[1] = v.parents[1] THEN c.forward > c.backward
                                     ELSE c.backward > c.forward END) AS won
        FROM comparison c JOIN revision v ON NOT is_held_out(v.stage)
             AND (v.parents[1] = c.parents[1] OR v.parents[1] = c.parents[2])
        WHERE NOT EXISTS (SELECT 1 FROM revision o WHERE o.parents[1] <> v.parents[1]
                          AND (o.parents[1] = c.parents[1] OR o.parents[1] = c.parents[2]))
        GROUP BY ALL
    )
    SELECT coalesce(s.principle, b.principle) AS principle, coalesce(s.constitution, b.constitution) AS constitution,
           coalesce(s.drawn, 0) + coalesce(b.direct, 0) AS drawn, coalesce(s.found, 0) AS found,
           coalesce(b.revised, 0) AS revised, coalesce(b.changed, 0) AS changed, coalesce(b.kept, 0) AS kept,
           coalesce(b.refusals, 0) AS refusals, coalesce(b.leaks, 0) AS leaks,
           coalesce(b.copied, 0) AS copied, coalesce(b.about_itself, 0) AS about_itself,
           coalesce(b.checked, 0) AS checked, coalesce(b.passed_before, 0) AS passed_before,
           coalesce(b.passed_after, 0) AS passed_after,
           coalesce(c.compared, 0) AS compared, coalesce(c.won, 0) AS won,
           coalesce(s.tokens, 0) + coalesce(b.tokens, 0) AS tokens
    FROM said s FULL JOIN became b USING (principle, constitution) LEFT JOIN compared c USING (principle, constitution)
    ORDER BY constitution, drawn DESC, principle
"""
EXAMPLES = """
    SELECT v.id, v.kept, v.reason, v.before, v.after, v.round, p.question, f.text AS response, c.text AS critique,
           r.text AS revision, r.id AS rationale, w.outcome,
           CASE WHEN v.before = 'incorrect' AND v.after = 'correct' THEN 2 ELSE 0 END
           + CASE WHEN v.before = 'correct' AND v.after = 'incorrect' THEN -2 ELSE 0 END
           + CASE WHEN v.kept THEN 1 ELSE -1 END
           + coalesce(m.margin, 0) AS gain
    FROM revision v
    JOIN rationale r ON r.id = v.parents[1] AND NOT is_held_out(r.stage)
    JOIN (SELECT DISTINCT ON (id) * FROM rationale) f ON f.id = v.parents[2]
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM problem) p ON p.id = r.parents[1]
    LEFT JOIN critique c ON c.id = v.parents[3] AND NOT is_held_out(c.stage)
    LEFT JOIN verdict w ON w.parents[1] = r.id
    LEFT JOIN (SELECT parents[1] AS chosen, max(margin) AS margin FROM preference GROUP BY ALL) m ON m.chosen = r.id
    WHERE NOT is_held_out(v.stage) AND v.principle = ? AND v.constitution = ?
          AND NOT list_contains(v.marks, 'unchanged')
    ORDER BY gain {order}, v.id LIMIT 1
"""


def read_report(query: Query) -> list[dict[str, object]]:
    """The figures of each principle, with its best and its worst revision; raises StoreError where there are none."""
    rows = query.rows(FIGURES)
    if not rows:
        raise StoreError(f"{query.folder.path}: nothing was criticised or revised in this run")
    for row in rows:
        for name, order in (("best", "DESC"), ("worst", "ASC")):
            found = query.rows(EXAMPLES.format(order=order), row["principle"], row["constitution"])
            row[name] = found[0] if found else None
    return rows
