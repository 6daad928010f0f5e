"""Rows that share text with evaluated questions: how fast they are found, and what is found between GSM8K's own splits.

    python tests/benchmarks/leaks.py [--rows 10000 100000] [--data FOLDER] [--share 0.5] [--show]

The questions are the test problems of GSM8K, MMLU, BIG-Bench Hard, CommonsenseQA, SVAMP and ASDiv, the rows T0's
prompts with their completions and GSM8K's training problems, gone over again until there are enough. `--show` prints
each pair of texts that is found between the training and the test split of GSM8K.
"""

import argparse
import csv
import json
import resource
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from pairs import DATA

from selfimprove.tasks.overlap import Hit, Questions

Row = tuple[str, str]  # prompt, completion


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def read_questions(data: Path) -> Iterator[str]:
    yield from (one["question"] for one in read_lines(data / "gsm8k" / "test.jsonl"))
    for path in sorted((data / "mmlu" / "test").glob("*.csv")):
        with path.open(newline="") as file:
            for row in islice(csv.reader(file), 1, None):
                yield "\n".join([row[0], *(f"{letter}. {text}" for letter, text in zip("ABCD", row[1:5], strict=True))])
    for path in sorted((data / "bbh").glob("*.json")):
        yield from (one["input"] for one in json.loads(path.read_text())["examples"])
    for path in sorted((data / "commonsenseqa").glob("*dev*")):
        yield from (one["question"]["stem"] for one in map(json.loads, path.read_text().splitlines()))
    for one in json.loads((data / "svamp" / "SVAMP.json").read_text()):
        yield f"{one['Body']} {one['Question']}"
    for problem in ElementTree.parse(data / "asdiv" / "ASDiv.xml").iter("Problem"):
        yield f"{problem.findtext('Body')} {problem.findtext('Question')}"


def read_training(data: Path) -> list[Row]:
    return [(one["question"], one["answer"]) for one in read_lines(data / "gsm8k" / "train.jsonl")]


def read_rows(data: Path) -> list[Row]:
    t0 = [one for path in sorted((data / "t0-p3").glob("*.json*")) for one in read_lines(path)]
    return [(one["prompt"], one["completion"]) for one in t0] + read_training(data)


def find(asked: Questions, rows: Iterator[Row]) -> Iterator[tuple[str, Hit]]:
    while some := list(islice(rows, 2048)):
        texts = [*dict.fromkeys(text for row in some for text in row)]
        for text, hits in zip(texts, asked.find(texts), strict=True):
            whole = asked.find_whole(text)
            yield from ((text, hit) for hit in ([whole] if whole else hits))


def measure(asked: Questions, rows: list[Row], count: int) -> str:
    started = time.process_time()
    found = sum(1 for _ in find(asked, islice(cycle(rows), count)))
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return f"| {count:,} | {seconds:.1f} | {count / seconds:,.0f} | {peak} | {found:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    questions, rows = [*read_questions(arguments.data)], read_rows(arguments.data)
    started = time.process_time()
    asked = Questions(questions, share=arguments.share, numbers=True)
    seconds, length = time.process_time() - started, sum(len(a) + len(b) for a, b in rows) / len(rows)
    print(f"{len(questions):,} questions, {asked.compared:,} with runs of words of their own, {seconds:.1f} CPU s")
    print(f"rows of {length:.0f} characters on average\n")
    print("| rows | CPU seconds | rows a CPU second | MB at most | found |\n| ---: | ---: | ---: | ---: | ---: |")
    for count in arguments.rows:
        print(measure(asked, rows, count))
    test = [one["question"] for one in read_lines(arguments.data / "gsm8k" / "test.jsonl")]
    apart = Questions(test, share=arguments.share, numbers=True)
    trained = read_training(arguments.data)
    found = [*find(apart, iter(trained))]
    print(f"\nGSM8K's {len(trained):,} training problems beside its {len(test):,} test problems: {len(found)} found")
    for text, hit in found if arguments.show else ():
        print(f"\n{hit.rule}, {hit.share:.0%}\n  trained: {text}\n  tested:  {test[hit.question]}")


if __name__ == "__main__":
    main()
