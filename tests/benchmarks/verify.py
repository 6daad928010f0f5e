"""Verdicts a second: ours with 1 and 2 workers, beside math-verify called directly in this process on the same pairs.

    python tests/benchmarks/verify.py [--rounds 3] [--scale 1.0] [--data FOLDER]

A verdict is extraction and comparison (and ours checks the steps too, math-verify does not; "answers alone" leaves
them out). Rounds go A B A B, each with texts that no round before had and with empty caches; the table shows medians.
At the end one worker is killed in the middle of its work.
"""

import argparse
import gc
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import math_verify
from agreement import records
from kinds import PUBLISHED
from pairs import DATA, Pair, Real, formula_pairs, number_pairs, option_pairs, rationale_pairs, read_data
from sympy.core.cache import clear_cache

from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.verifiers.answers import _find_in_long, _find_in_middle, _find_in_short, _prepare_again
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.numbers import read_number, squeeze
from selfimprove.verifiers.reference import MathVerifyVerifier
from selfimprove.verifiers.workers import Judged, VerifierPool

PLAIN = ("{}", "The answer is {}.", "#### {}", "${}", "{} apples")
LIMITS = Limits(cpu_seconds=1, wall_seconds=10, memory_mb=512)
DIRECT_BYTES = 4 << 30
DIRECT_SECONDS = 15.0  # for the hostile texts of one round, in a process that may be killed
MAX_HOSTILE = 50_000  # characters; longer texts are not parsed at all


class Speed(NamedTuple):
    """Seconds on the clock and of CPU time, of this process and all below it, for some verdicts."""

    wall: float
    cpu: float
    verdicts: int


def descendants() -> list[int]:
    """The processes below this one."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [os.getpid()]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def cpu_seconds() -> float:
    """CPU time of this process and of all below it, those that ended in the meantime included."""
    ticks = 0
    for one in descendants():
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited.ru_utime + waited.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def distinct(drawn: Sequence[Pair], seen: set[str]) -> list[Pair]:
    """The pairs whose text was not there before."""
    fresh = list({pair.text: pair for pair in drawn if pair.text not in seen}.values())
    seen.update(pair.text for pair in fresh)
    return fresh


def plain(real: Real, rng: random.Random, count: int) -> list[Pair]:
    """Plain numbers in five forms, half of them wrong."""
    pairs = []
    for _ in range(count):
        gold = round(10 ** rng.uniform(0, 6)) + int(rng.choice(real.numbers).value)
        said = gold if rng.random() < 0.5 else gold + rng.choice((1, -1, 10, 100))
        pairs.append(Pair(str(gold), rng.choice(PLAIN).format(said), "plain", said == gold))
    return pairs


def solutions(real: Real, rng: random.Random, count: int) -> list[Pair]:
    return list(islice(rationale_pairs(real, rng), count))


def published(real: Real, rng: random.Random, count: int) -> list[Pair]:
    """Worked solutions with their answer in each form that published answers have, half of them wrong."""
    solved = [number for number in real.numbers if number.solution]
    pairs = []
    for form in islice(cycle(PUBLISHED), count):
        number = rng.choice(solved)
        said = number.written if rng.random() < 0.5 else str(number.value + rng.choice((1, -1, 10)))
        text = form.format(work=number.solution.rpartition("\n#### ")[0], said=said)
        pairs.append(Pair(number.written, text, "published", said == number.written))
    return pairs


def latex(real: Real, rng: random.Random, count: int) -> list[Pair]:
    """Formulas, half of them written as the expected answer is and half otherwise."""
    found: dict[bool, list[Pair]] = {True: [], False: []}
    formulas, options = formula_pairs(real, rng), option_pairs(real, rng)
    while min(map(len, found.values())) < count // 2:
        pair = next(options if rng.random() < 0.1 else formulas)
        if read_number(pair.gold) is None:
            found[squeeze(pair.gold) in squeeze(pair.text)].append(pair)
    pairs = [pair for those in found.values() for pair in those[: count // 2]]
    rng.shuffle(pairs)
    return pairs


def hostile_mix(real: Real, rng: random.Random, count: int) -> list[Pair]:
    """Two hostile texts for each ordinary one."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
    from hostile import CORPUS

    ordinary = islice(number_pairs(real, rng), count // 3)
    drawn = rng.sample([one for one in CORPUS if one.size <= MAX_HOSTILE], count - count // 3)
    pairs = [*ordinary, *(Pair(one.gold, one.text, "hostile", one.right) for one in drawn)]
    rng.shuffle(pairs)
    return pairs


KINDS: dict[str, tuple[Callable[[Real, random.Random, int], list[Pair]], int]] = {
    "plain numbers": (plain, 4000),
    "whole solutions": (solutions, 300),
    "published answers": (published, 300),
    "LaTeX": (latex, 300),
    "hostile mix": (hostile_mix, 36),
}


def empty_caches() -> None:
    for cache in (_prepare_again, _find_in_short, _find_in_middle, _find_in_long, read_number):
        cache.cache_clear()
    clear_cache()


def measure(run: Callable[[], int]) -> Speed:
    """Time one run from cold caches; it says how many verdicts it gave."""
    empty_caches()
    cpu, wall = cpu_seconds(), time.perf_counter()
    verdicts = run()
    return Speed(time.perf_counter() - wall, cpu_seconds() - cpu, verdicts)


def judge(pool: VerifierPool, judged: Sequence[Judged]) -> int:
    """Extraction of all, as a stage that generates does it, and then all verdicts."""
    for verifier, problem, rationale in judged:
        verifier.extract_answer(rationale.text, problem)
    return len(list(pool.verify_all(judged)))


def judge_answers(judged: Sequence[Judged]) -> int:
    """Only what math-verify does as well: extraction and comparison, in this process, without the steps."""
    for verifier, problem, rationale in judged:
        assert isinstance(verifier, MathVerifier)
        verifier.extract_answer(rationale.text, problem)
        verifier._judge(problem, rationale, sympy=False)
    return len(judged)


def judge_directly(pairs: Sequence[Pair]) -> int:
    for pair in pairs:
        math_verify.verify(math_verify.parse(pair.gold), math_verify.parse(pair.text))
    return len(pairs)


def judge_directly_apart(pairs: Sequence[Pair]) -> int:
    """The same in a process that is killed when its time is over or its memory full; how many came back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (DIRECT_BYTES, DIRECT_BYTES))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for pair in pairs:
                judge_directly([pair])
                os.write(writing, b".")
        finally:
            os._exit(0)
    os.close(writing)
    done, end = 0, time.monotonic() + DIRECT_SECONDS
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        read = len(os.read(reading, 1 << 16))
        done += read
        if not read:
            break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    return done


def run_rounds(real: Real, rounds: int, scale: float, kinds: Sequence[str]) -> dict[str, dict[str, list[Speed]]]:
    """Ours with 1 worker, with 2, and math-verify, one after the other, round after round."""
    rng = random.Random(0)
    verifier = MathVerifier(VerifierSettings(name="math"))
    found: dict[str, dict[str, list[Speed]]] = {kind: {} for kind in kinds}
    pools = {
        f"{workers} worker{'s' * (workers > 1)}": VerifierPool(workers=workers, limits=LIMITS) for workers in (1, 2)
    }
    warm = [Pair(rf"$\sqrt{{{root}}}$", rf"$\frac{{x}}{{{root}}}$", "warm", False) for root in range(2, 12)]
    for name, pool in pools.items():
        started = time.perf_counter()
        judge(pool, [records(pair, verifier) for pair in warm])
        print(f"first verdicts that need sympy, {name}: {time.perf_counter() - started:.2f} s")
    judge_directly(warm)
    seen: set[str] = set()
    for _ in range(rounds):
        for kind in kinds:
            make, count = KINDS[kind]
            pairs = distinct(make(real, rng, round(count * scale)), seen)
            directly = judge_directly_apart if kind == "hostile mix" else judge_directly
            judged = [records(pair, verifier) for pair in pairs]
            for _, _, rationale in judged:
                rationale.id  # noqa: B018, which a run needs for the rationale's own record already
            gc.collect()
            gc.freeze()  # as a run does: the collector need not look at what was imported again and again
            runs: dict[str, Callable[[], int]] = {name: partial(judge, pool, judged) for name, pool in pools.items()}
            if kind in ("whole solutions", "published answers"):
                runs["answers alone"] = partial(judge_answers, judged)
            runs["math-verify"] = partial(directly, pairs)
            for name, run in runs.items():
                found[kind].setdefault(name, []).append(measure(run))
    for pool in pools.values():
        pool.close()
    return found


def rates(speed: Speed) -> tuple[float, float]:
    """Verdicts a second, and CPU seconds a verdict."""
    return speed.verdicts / speed.wall, speed.cpu / max(1, speed.verdicts)


def table(found: dict[str, dict[str, list[Speed]]]) -> list[str]:
    """The medians as Markdown."""
    lines = [
        "| texts | who | verdicts | verdicts a second | CPU ms a verdict | beside math-verify: wall | CPU |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for kind, speeds in found.items():
        direct = [median(column) for column in zip(*map(rates, speeds["math-verify"]), strict=True)]
        for name, those in speeds.items():
            rate, cost = (median(column) for column in zip(*map(rates, those), strict=True))
            verdicts = round(median(one.verdicts for one in those))
            ratios = f"{rate / direct[0]:.2f} | {direct[1] / cost:.2f}"
            lines.append(f"| {kind} | {name} | {verdicts} | {rate:,.0f} | {cost * 1000:.3f} | {ratios} |")
    return lines


def kill_a_worker(real: Real, workers: int = 2) -> str:
    """Kill a worker while it judges formulas by math-verify, which needs one for each; what became of the verdicts."""
    verifier = MathVerifyVerifier(VerifierSettings(name="math-verify"))
    judged = [records(pair, verifier) for pair in latex(real, random.Random(7), 300)]
    before = set(descendants())
    with VerifierPool(workers=workers, limits=LIMITS) as pool:
        verdicts = []
        for verdict in pool.verify_all(judged):
            verdicts.append(verdict)
            if len(verdicts) == 20:
                killed = max(set(descendants()) - before)  # a worker is younger than the server that forked it
                os.kill(killed, signal.SIGKILL)
    cut = sum(verdict.reason.startswith("not judged") for verdict in verdicts)
    own = [verdict.parents[0] for verdict in verdicts] == [rationale.id for _, _, rationale in judged]
    order = "in order" if own else "NOT IN ORDER"
    return (
        f"a worker was killed after 20 of {len(judged)} verdicts: {len(verdicts)} came, {order}, {cut} of them cut off"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of texts in a round")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    real = read_data(options.data)
    print("\n".join(table(run_rounds(real, options.rounds, options.scale, options.kinds))))
    print(kill_a_worker(real))


if __name__ == "__main__":
    main()
