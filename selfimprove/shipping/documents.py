"""The documents: which there are, what they are about, and where links between them lead."""

import posixpath
import re
from dataclasses import dataclass

from selfimprove.errors import SelfImproveError, suggest
from selfimprove.shipping.shipped import find_shipped

MADE = re.compile(r"<!-- made by: (?P<command>[^\n]+?) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)
_FENCE = re.compile(r"^(```|~~~)")


@dataclass(frozen=True)
class Document:
    """A document; `path` is its place in the repository."""

    topic: str
    path: str
    about: str

    def read(self) -> str:
        """Its Markdown, without the comments that only tools read."""
        return strip_comments(find_shipped(self.path).read_text("utf-8"))


TOPICS = {
    topic: Document(topic, path, about)
    for topic, path, about in (
        ("start", "README.md", "what it is, the first commands, where to read on"),
        (
            "first-hour",
            "selfimprove/cli/README.md",
            "from an empty folder to a published checkpoint, each command and its time",
        ),
        ("settings", "policies/README.md", "every setting of a recipe, and the files under policies/"),
        ("constitutions", "policies/constitutions/README.md", "what a good answer is, in a file of principles"),
        ("mixtures", "policies/mixtures/README.md", "data sets and templates for instruction tuning"),
        (
            "prompting",
            "selfimprove/prompting/README.md",
            "ways to ask, triggers, majorities, suites, leaks, lm-evaluation-harness",
        ),
        ("verifiers", "selfimprove/verifiers/README.md", "who judges, and how far to trust it"),
        ("engines", "selfimprove/engines/README.md", "vLLM, servers, several GPUs, many machines"),
        ("viewer", "selfimprove/viewer/README.md", "looking at a run: terminal, browser, Inspect, trackers, files"),
        ("rlhf", "selfimprove/trainers/README.md", "comparisons by people and others, reward models, best-of-n, RL"),
        (
            "people",
            "selfimprove/people/README.md",
            "people who rate responses and differ: cohorts, pairs, whom a model serves",
        ),
        ("screenshots", "tests/screenshots/README.md", "all pages of the viewer"),
        ("results", "tests/benchmarks/README.md", "what was measured, with command, commit and date"),
        ("python", "selfimprove/results/README.md", "runs, traces and verdicts from Python"),
        (
            "extending",
            "selfimprove/stages/README.md",
            "a stage, task, verifier, engine, trainer or reward of one's own",
        ),
        ("guide", "selfimprove/README.md", "for contributors: the tree, the layers, the tests"),
    )
}


def find_document(topic: str) -> Document:
    """The document of a topic; raises SelfImproveError with the topics that there are."""
    if topic not in TOPICS:
        raise SelfImproveError(f"no document '{topic}'{suggest(topic, TOPICS)}; topics: {', '.join(TOPICS)}")
    return TOPICS[topic]


def strip_comments(markdown: str) -> str:
    """Markdown without the lines that are one HTML comment, those in code blocks excepted."""
    lines, fenced = [], False
    for line in markdown.split("\n"):
        fenced ^= bool(_FENCE.match(line))
        if fenced or not re.fullmatch(r"<!-- .* -->", line):
            lines.append(line)
    return "\n".join(lines)


def resolve(link: str, source: str) -> str | None:
    """The path in the repository that a link of the document at `source` leads to; None where it leaves it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link.partition("#")[0]))
    return None if path.startswith(("..", "/")) else path


def topic_at(path: str) -> str | None:
    """The topic of the document at a path in the repository; a folder stands for its README."""
    return next((one.topic for one in TOPICS.values() if path in (one.path, posixpath.dirname(one.path))), None)


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
