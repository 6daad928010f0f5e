"""Our evaluation beside lm-evaluation-harness's, with one model on the same problems; prints a table for the README.

    python tests/benchmarks/lm_eval_agreement.py MODEL --data FOLDER [--written 40] [--tokens 64] [--only NAME …]

Needs the extra `eval`. Texts are written greedily, so a text may differ where two tokens are equally likely up to the
rounding of another batch; then the place of the first difference is printed. Where our own verifier judges otherwise
than the harness's rule, the text is printed.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import harness_tasks as harness

from selfimprove.prompting.prompts import encode_prompt

NAMES = ("mmlu", "gsm8k", "gsm8k_cot", "bbh")
HEAD = "| benchmark | problems | equal prompts | ids | texts | outcomes | harness right | its rule here | ours |"


def describe(name: str, sides: harness.Sides) -> str:
    """One line of the table a filter of the harness; prints what differs."""
    (problems, texts, verdicts, checks), lm, samples, names = sides
    lines = []
    by_question = {one.question: one for one in problems}
    for filter_ in names or ["acc"]:
        found: Counter[str] = Counter()
        at = 0
        for sample in samples:
            if names and sample["filter"] != filter_:
                continue
            doc = sample["doc"]
            problem = by_question[(doc.get("question") or doc["input"]).strip()] if names else problems[at]
            at += 1
            text, prompt = texts[problem.id], sample["arguments"][0][0]
            ours = verdicts[problem.id].outcome
            if names:
                theirs, wrote = sample["exact_match"] == 1, sample["resps"][0][0]
                by_rule = checks[problem.id, names[filter_]].second == "correct"
            else:
                scores = [float(one[0][0]) for one in sample["resps"]]
                theirs, wrote = sample["acc"] == 1, sample["arguments"][scores.index(max(scores))][1]
                by_rule = ours == "correct"
            found["prompts"] += text.prompt == prompt
            found["ids"] += encode_prompt(lm.tokenizer, text.prompt, chat=False) == lm.tok_encode(prompt)
            found["texts"] += text.text == wrote
            found["outcomes"] += by_rule == theirs
            found["theirs"] += theirs
            found["by rule"] += by_rule
            found["ours"] += ours == "correct"
            if text.text != wrote:
                same = next((k for k, (a, b) in enumerate(zip(text.text, wrote, strict=False)) if a != b), -1)
                print(f"{name}: another text from character {same}: {text.text[same:][:40]!r}, {wrote[same:][:40]!r}")
            if names and (ours == "correct") != by_rule:
                rule = checks[problem.id, names[filter_]].reason
                print(f"{name} {filter_}: ours {ours} ({verdicts[problem.id].reason}), the harness's rule: {rule}")
                print(f"    expected {problem.answer}: {text.text[-160:]!r}")
        lines.append(
            f"| {name}{f' {filter_}' if names else ''} | {at} | {found['prompts']} | {found['ids']} | {found['texts']} "
            f"| {found['outcomes']} | {found['theirs']} | {found['by rule']} | {found['ours']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--written", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--scored", type=int, default=200)
    parser.add_argument("--bbh", default="navigate")
    parser.add_argument("--subject", default="high_school_psychology")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    given = parser.parse_args()
    data, model, written, tokens = given.data, given.model, given.written, given.tokens
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in given.only:
            if task == "mmlu":
                sides = harness.both_on_mmlu(data, given.subject, model, folder / task, given.scored, 0)
            elif task == "bbh":
                sides = harness.both_on_bbh(data, given.bbh, model, folder / task, written, tokens)
            else:
                sides = harness.both_on_gsm8k(data, task, model, folder / task, written, tokens)
            shown = {"mmlu": f"mmlu_{given.subject}, 0 shots", "bbh": f"bbh_cot_fewshot_{given.bbh}"}.get(task, task)
            lines.append(describe(shown, sides))
            print(lines[-1], flush=True)
    print(f"\n{HEAD}\n|{' --- |' * (HEAD.count('|') - 1)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
