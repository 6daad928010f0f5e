"""The commands of `selfimprove people`."""

from pathlib import Path
from typing import Annotated

import typer

from selfimprove.cli.options import Json

app = typer.Typer(
    suggest_commands=False, help="People who rate responses: where they differ, whose model serves whom, their pairs."
)
SOURCE = "A .jsonl file of ratings, a folder with PRISM's files, or `prism` for those on the hub."
Source = Annotated[str, typer.Argument(metavar="RATINGS", help=SOURCE)]
Tie = Annotated[float, typer.Option(min=0, help="Scores that differ by at most this many points are a tie.")]


@app.command()
def report(
    source: Source,
    by: Annotated[list[str] | None, typer.Option("--by", help="Only this trait of people, such as age.")] = None,
    tie: Tie = 5.0,
    fewest: Annotated[int, typer.Option(min=20, help="Cohorts of fewer people are not shown.")] = 20,
    permutations: Annotated[int, typer.Option(min=19, max=100_000, help="Of the test of the labels.")] = 999,
    json_: Json = False,
) -> None:
    """Show where cohorts of people differ, by how much more than chance, and whose reward model serves whom."""
    import json

    from selfimprove.people.report import describe_people, load_people, measure_people
    from selfimprove.records.columns import terminal_width

    ratings, licence = load_people(source)
    if licence:
        typer.echo(licence, err=True)
    found = measure_people(ratings, traits=by or (), tie=tie, fewest=fewest, permutations=permutations)
    if json_:
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo("\n".join(describe_people(found, terminal_width())))


@app.command()
def pairs(
    source: Source,
    out: Annotated[Path, typer.Argument(help="A .jsonl file, which `prefer.files.path` of a recipe takes.")],
    cohort: Annotated[
        str | None, typer.Option(metavar="TRAIT=VALUE", help="Only the pairs of these people, such as age=18-24.")
    ] = None,
    tie: Tie = 5.0,
) -> None:
    """Write the pairs of ratings, each with its margin and weight, to train a reward model on."""
    from selfimprove.people.files import write_pairs
    from selfimprove.people.report import load_people

    ratings, licence = load_people(source)
    if licence:
        typer.echo(licence, err=True)
    typer.echo(f"{write_pairs(ratings, out, cohort=cohort, tie=tie)} pairs in {out}")


@app.command()
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(help="A .jsonl file.")],
    cohorts: Annotated[bool, typer.Option("--cohorts", help="With what is known of the people.")] = False,
) -> None:
    """Write ratings in the general format, by pseudonyms, and without the people's traits unless they are asked for."""
    from selfimprove.people.files import write_ratings
    from selfimprove.people.report import load_people

    ratings, licence = load_people(source)
    if licence:
        typer.echo(licence, err=True)
    typer.echo(f"{write_ratings(ratings, out, cohorts=cohorts)} ratings in {out}")


@app.command()
def generate(
    out: Annotated[Path, typer.Argument(help="A .jsonl file.")],
    people: Annotated[int, typer.Option(min=1, max=100_000, help="In all.")] = 120,
    cohorts: Annotated[int, typer.Option(min=1, max=50, help="Cohorts, equally large.")] = 2,
    items: Annotated[int, typer.Option(min=1, max=100_000, help="Prompts.")] = 40,
    responses: Annotated[int, typer.Option(min=2, max=50, help="Responses to each prompt.")] = 4,
    each: Annotated[int, typer.Option(min=1, help="Prompts that one person rates.")] = 20,
    difference: Annotated[float, typer.Option(help="Planted between the cohorts, in log-odds; 0: none.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same people.")] = 0,
) -> None:
    """Draw a population whose cohorts differ by what is planted, to see whether it is found."""
    import json

    from selfimprove.people.files import write_lines
    from selfimprove.people.synthetic import make_population

    drawn = make_population(people=people, cohorts=cohorts, items=items, responses=responses, each=each,
                            difference=difference, seed=seed)  # fmt: skip
    write_lines(out, (one.to_json() for one in drawn.ratings))
    planted = json.dumps({"shared": drawn.shared, "offsets": drawn.offsets})
    typer.echo(f"{len(drawn.ratings)} ratings in {out}; planted: {planted}")
