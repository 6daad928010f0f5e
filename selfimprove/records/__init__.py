"""Every kind of record that a run keeps, and what is computed from records alone."""

from selfimprove.records.base import (
    ID_LENGTH,
    KINDS,
    AnyRecord,
    Origin,
    Outcome,
    Record,
    Role,
    TokenIds,
    by_id,
    derive_seed,
    digest,
    hash_bytes,
    hash_text,
    replace_surrogates,
)
from selfimprove.records.judged import (
    Comparison,
    Critique,
    Revision,
)
from selfimprove.records.measured import (
    Evaluation,
    Promotion,
)
from selfimprove.records.problem import (
    Action,
    Frontier,
    Problem,
)
from selfimprove.records.text import (
    CrossCheck,
    Proposal,
    Rationale,
    Reward,
    Step,
    Verdict,
    Vote,
)
from selfimprove.records.trained import (
    Checkpoint,
    Decision,
    Earned,
    Example,
    Preference,
    Rollout,
)

__all__ = [
    "ID_LENGTH",
    "KINDS",
    "Action",
    "AnyRecord",
    "Checkpoint",
    "Comparison",
    "Critique",
    "CrossCheck",
    "Decision",
    "Earned",
    "Evaluation",
    "Example",
    "Frontier",
    "Origin",
    "Outcome",
    "Preference",
    "Problem",
    "Promotion",
    "Proposal",
    "Rationale",
    "Record",
    "Revision",
    "Reward",
    "Role",
    "Rollout",
    "Step",
    "TokenIds",
    "Verdict",
    "Vote",
    "by_id",
    "derive_seed",
    "digest",
    "hash_bytes",
    "hash_text",
    "replace_surrogates",
]
