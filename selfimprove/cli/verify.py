"""The command `selfimprove verify`."""

from pathlib import Path
from typing import Annotated

import typer

VERIFIER = "math, text, choice, math-verify, reasoning_gym/NAME or judge."


def verify(
    file: Annotated[Path, typer.Argument(help="A JSONL file of responses.")],
    verifier: Annotated[str, typer.Option(help=VERIFIER)] = "math",
    response: Annotated[str, typer.Option(help="The key of the response, a text or a list of texts.")] = "response",
    answer: Annotated[str, typer.Option(help="The key of the expected answer.")] = "answer",
    question: Annotated[
        str | None, typer.Option(help="The key of the question: where a step's numbers come from.")
    ] = None,
    options: Annotated[str | None, typer.Option(help="The key of a list of options, for choice.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The key that says whether a response is right: the verifier's errors are shown.")
    ] = None,
    stated: Annotated[bool, typer.Option("--stated", help="An answer must be announced.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Compare answers as strings.")] = False,
    tolerance: Annotated[float, typer.Option(min=0, help="Numbers may differ by this much.")] = 0.0,
    relative_tolerance: Annotated[float, typer.Option(min=0, help="The same as a share of the expected one.")] = 0.0,
    units: Annotated[str, typer.Option(help="ignore or match.")] = "ignore",
    second: Annotated[str | None, typer.Option(help="Cross-check by this verifier, such as math-verify.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="The share that is cross-checked.")] = 1.0,
    judge_model: Annotated[str | None, typer.Option(help="The model of the verifier 'judge'.")] = None,
    judge_prompt: Annotated[Path | None, typer.Option(help="Its prompt file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write each verdict to this JSONL file.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first n responses.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes for what may hang.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print the totals as JSON.")] = False,
) -> None:
    """Judge a file of responses: totals, reasons, what stayed undecided, and where two verifiers differ."""
    import json

    from selfimprove.errors import VerifierError
    from selfimprove.results.verify_file import choose_verifier, judge_file
    from selfimprove.results.verify_report import print_totals, to_json
    from selfimprove.verifiers.response_file import Columns
    from selfimprove.verifiers.workers import VerifierPool

    compared = {"strict": strict, "tolerance": tolerance, "relative_tolerance": relative_tolerance, "units": units}
    judge = (judge_model, judge_prompt)
    chosen = choose_verifier(verifier, compared, stated=stated, judge=judge)
    other = choose_verifier(second, compared, stated=stated, judge=judge) if second else None
    columns = Columns(response, answer, question, options, label)
    with VerifierPool(workers=workers) as pool:
        totals = judge_file(file, columns, chosen, pool=pool, second=other, share=share, out=out, limit=limit)
    if json_:
        typer.echo(json.dumps(to_json(totals), indent=2))
    else:
        print_totals(totals)
    if totals.outcomes["undecided"] == totals.outcomes.total():
        raise VerifierError(f"{file}: none of the {totals.outcomes.total()} responses could be judged")
