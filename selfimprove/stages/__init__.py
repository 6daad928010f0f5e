"""One file a stage: its settings, its function from records to records, and its declaration.

The order here is that of a round where a recipe gives no flow.
"""

from selfimprove.stages.base import declare
from selfimprove.stages.base_model import BASE
from selfimprove.stages.best import BEST
from selfimprove.stages.comply import COMPLY
from selfimprove.stages.decide import DECIDE
from selfimprove.stages.distill import DISTILL
from selfimprove.stages.dpo import DPO
from selfimprove.stages.evaluate import EVALUATE
from selfimprove.stages.frontier import FRONTIER
from selfimprove.stages.generate import GENERATE
from selfimprove.stages.instruct import INSTRUCT
from selfimprove.stages.label import LABEL
from selfimprove.stages.mix import MIX
from selfimprove.stages.prefer import PREFER
from selfimprove.stages.probe import PROBE
from selfimprove.stages.problems import PROBLEMS
from selfimprove.stages.promote import PROMOTE
from selfimprove.stages.propose import PROPOSE
from selfimprove.stages.rank import RANK
from selfimprove.stages.rationalize import RATIONALIZE
from selfimprove.stages.repair import REPAIR
from selfimprove.stages.revise import REVISE
from selfimprove.stages.reward import REWARD
from selfimprove.stages.rl import RL
from selfimprove.stages.select import SELECT
from selfimprove.stages.sft import SFT
from selfimprove.stages.verify import VERIFY
from selfimprove.stages.warmup import WARMUP

BUILT_IN = (
    PROBLEMS, BASE, WARMUP, DECIDE, FRONTIER, PROPOSE, PROBE, GENERATE, VERIFY, REPAIR, RATIONALIZE, REVISE, SELECT,
    INSTRUCT, MIX, SFT, DISTILL, PREFER, REWARD, RANK, LABEL, BEST, DPO, RL, EVALUATE, COMPLY, PROMOTE,
)  # fmt: skip
for _stage in BUILT_IN:
    declare(_stage)
