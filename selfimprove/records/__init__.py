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
    Compliance,
    Critique,
    Revision,
)
from selfimprove.records.measured import (
    KL,
    Audit,
    Evaluation,
    Overlap,
    Promotion,
)
from selfimprove.records.mixed import (
    Draw,
    Portion,
)
from selfimprove.records.problem import (
    Frontier,
    Problem,
)
from selfimprove.records.steering import (
    Action,
    Effect,
    Health,
    Prediction,
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
    "KL",
    "Action",
    "AnyRecord",
    "Audit",
    "Checkpoint",
    "Comparison",
    "Compliance",
    "Critique",
    "CrossCheck",
    "Decision",
    "Draw",
    "Earned",
    "Effect",
    "Evaluation",
    "Example",
    "Frontier",
    "Health",
    "Origin",
    "Outcome",
    "Overlap",
    "Portion",
    "Prediction",
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
