"""How the model is asked for a critique, a revision and a comparison: as a transcript with exemplars for a base model
(Bai et al., 2022b, appendix E), as turns of a conversation for a model with a chat template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selfimprove.constitution.model import ComparisonExemplar, Constitution, Principle
from selfimprove.prompting.prompts import Chat, fill

LEAST_LABEL = 4  # characters of a label that is looked for in what the model writes
OPTIONS = (" (A)", " (B)")
CHECKLIST = (
    "Check the response against each principle of this list. Write one line for each principle: its number, and yes "
    "where the response follows it; where it does not, its number, no, and in quotation marks the words of the "
    "response that go against it."
)
IN_ONE_TURN = 'Begin what you say about the response with "Critique:", and the new response with "Revision:".'


@dataclass(frozen=True)
class Part:
    """A part of a transcript: what is asked, and the answer, which is empty where it is the model's turn."""

    kind: Literal["question", "critique", "revision", "comparison", "reasoning", "answer"]
    asked: str
    answer: str = ""


@dataclass(frozen=True)
class Prompter:
    """Writes prompts by a constitution; `chat` is the tokenizer's chat template where there is one."""

    constitution: Constitution
    chat: Chat | None = None

    def critique(self, principle: Principle, question: str, response: str) -> str:
        """The prompt for a critique of a response."""
        shown = [
            [*self._begin(one.question, one.response), self._request(principle, "critique", one.critique)]
            for one in self.constitution.shown(principle)
        ]
        return self._assemble([*shown, [*self._begin(question, response), self._request(principle, "critique")]])

    def revision(self, principle: Principle, question: str, response: str, critique: str | None) -> str:
        """The prompt for a revision by a critique, or directly where there is none (section 3.5)."""

        def parts(question: str, response: str, critique: str | None, revision: str = "") -> list[Part]:
            said = [] if critique is None else [self._request(principle, "critique", critique)]
            return [*self._begin(question, response), *said, self._request(principle, "revision", revision)]

        shown = [
            parts(one.question, one.response, None if critique is None else one.critique, one.revision)
            for one in self.constitution.shown(principle)
        ]
        return self._assemble([*shown, parts(question, response, critique)])

    def anew(self, principle: Principle, question: str) -> str:
        """The prompt once more with a principle below it, and no response; exemplars are shown where there is no chat
        template."""
        shown = [] if self.chat else self.constitution.shown(principle)
        pairs = [*((one.question, one.revision) for one in shown), (question, "")]
        text = " ".join(principle.text.split())
        written = self._assemble([self._begin(f"{asked.strip()}\n\n{text}", answer) for asked, answer in pairs])
        return written if self.chat else written.rstrip(" ")

    def checklist(self, principles: Sequence[Principle], question: str, response: str) -> str:
        """The prompt to hold a response against several principles at once; exemplars, which show one each, are left
        out."""
        listed = "\n".join(f"{number}. {' '.join(one.text.split())}" for number, one in enumerate(principles, 1))
        return self._assemble([[*self._begin(question, response), Part("critique", f"{CHECKLIST}\n{listed}")]])

    def one_turn(self, principle: Principle, question: str, response: str) -> str:
        """The prompt for a critique with the revision right after it: in one turn of a conversation, or as a transcript
        in which the model goes on."""
        shown = self.constitution.shown(principle)
        begun = [self._begin(one.question, one.response) for one in shown]
        critiques = [self._request(principle, "critique", one.critique) for one in shown]
        revisions = [self._request(principle, "revision", one.revision) for one in shown]
        if not self.chat:
            before = [[*a, b, c] for a, b, c in zip(begun, critiques, revisions, strict=True)]
            return self._assemble([*before, [*self._begin(question, response), self._request(principle, "critique")]])
        requests = (self.constitution.request(principle, "critique"), self.constitution.request(principle, "revision"))
        asked = "\n\n".join([*(one.strip() for one in requests), IN_ONE_TURN])
        said = [f"Critique: {b.answer}\n\nRevision: {c.answer}" for b, c in zip(critiques, revisions, strict=True)]
        turns = [[*a, Part("critique", asked, b)] for a, b in zip(begun, said, strict=True)]
        return self._assemble([*turns, [*self._begin(question, response), Part("critique", asked)]])

    def split_turn(self, text: str) -> tuple[str, str | None]:
        """The critique and the revision of a text that holds both; None where no revision follows."""
        form = self.constitution.transcript
        label = "Revision:" if self.chat else re.split(r"\{\w+\}", form.revision)[-2].strip()
        parts = re.split(_heading(label), text, maxsplit=1) if label else [text]
        critique = parts[0]
        if not self.chat and (head := _head(form.revision).strip()):
            critique = critique.partition(head)[0]
        critique = re.sub(rf"\A\s*(?:{_heading('Critique:')})", "", critique)
        return critique.strip(), parts[1].strip() if len(parts) > 1 else None

    def comparison(
        self, principle: Principle, question: str, first: str, second: str, reasoning: str | None = None
    ) -> str:
        """The prompt which of two responses is better; the model's turn is one of `options` (section 4.1).

        `reasoning` is the chain of thought that was asked for before.
        """
        shown = [self._compare(principle, one, thought=reasoning is not None) for one in self._comparisons(reasoning)]
        kind: Literal["comparison", "reasoning"] = "comparison" if reasoning is None else "reasoning"
        asked = [Part(kind, self._options(principle, kind, question, first, second), (reasoning or "").strip())]
        return self._assemble([*shown, asked if reasoning is None else [*asked, Part("answer", "")]])

    def reasoning(self, principle: Principle, question: str, first: str, second: str) -> str:
        """The prompt for a chain of thought about two responses (section 4.1)."""
        shown = [self._compare(principle, one, thought=True) for one in self._comparisons("")]
        return self._assemble(
            [*shown, [Part("reasoning", self._options(principle, "reasoning", question, first, second))]]
        )

    @property
    def options(self) -> tuple[str, str]:
        """What the model may answer to a comparison: as a text goes on, or as a turn begins."""
        return (OPTIONS[0].strip(), OPTIONS[1].strip()) if self.chat else OPTIONS

    @property
    def stop(self) -> tuple[str, ...]:
        """What a critique or a revision ends before: a base model goes on to write the next part itself."""
        if self.chat:
            return ()
        form = self.constitution.transcript
        heads = [_head(one) for one in (form.critique, form.revision)]
        heads = [*self.turn_stop, *heads, *(f"\n{label}" for label in self.labels)]
        return tuple(dict.fromkeys(one for one in heads if one.strip()))

    @property
    def turn_stop(self) -> tuple[str, ...]:
        """What a critique with its revision ends before: the next response."""
        form = self.constitution.transcript
        question = _head(form.question)
        # With the separator too, so that what stands between the exemplars is not the end of the text.
        return (form.separator + question, question) if question.strip() and not self.chat else ()

    @property
    def thought_stop(self) -> tuple[str, ...]:
        """What a chain of thought ends before: a paragraph, and where the choice is announced."""
        announced = _head(self.constitution.transcript.answer)
        return ("\n\n", *self.stop, *([announced] if announced.strip() and not self.chat else []))

    @property
    def labels(self) -> tuple[str, ...]:
        """The words of the transcript, which have no place in a response."""
        form = self.constitution.transcript
        pieces = [piece for one in (form.question, form.critique, form.revision) for piece in re.split(r"\{\w+\}", one)]
        found = [line.strip() for piece in pieces for line in piece.split("\n")]
        return tuple(dict.fromkeys(one for one in found if len(one) >= LEAST_LABEL))

    @property
    def shown_texts(self) -> frozenset[str]:
        """The answers of the exemplars, which a small model likes to copy."""
        constitution = self.constitution
        owners = (constitution.exemplars, *(one.exemplars for one in constitution.principles))
        exemplars = [one for owner in owners for one in owner]
        return frozenset(text for one in exemplars for text in (one.response, one.critique, one.revision))

    def _begin(self, question: str, response: str) -> list[Part]:
        return [Part("question", question.strip(), response.strip())]

    def _request(self, principle: Principle, kind: Literal["critique", "revision"], answer: str = "") -> Part:
        return Part(kind, self.constitution.request(principle, kind).strip(), answer.strip())

    def _comparisons(self, reasoning: str | None) -> Sequence[ComparisonExemplar]:
        """The exemplars: with a chain of thought only those that have one."""
        return [one for one in self.constitution.comparisons if reasoning is None or one.reasoning]

    def _compare(self, principle: Principle, exemplar: ComparisonExemplar, *, thought: bool) -> list[Part]:
        texts = (exemplar.chosen, exemplar.rejected)
        first, second = texts if exemplar.first == "chosen" else texts[::-1]
        choice = self.options[exemplar.first != "chosen"].strip()
        if not thought:
            return [
                Part("comparison", self._options(principle, "comparison", exemplar.question, first, second), choice)
            ]
        asked = self._options(principle, "reasoning", exemplar.question, first, second)
        return [Part("reasoning", asked, exemplar.reasoning.strip()), Part("answer", "", choice)]

    def _options(
        self, principle: Principle, kind: Literal["comparison", "reasoning"], question: str, first: str, second: str
    ) -> str:
        """A comparison up to the place where the model answers."""
        template: str = getattr(self.constitution.transcript, kind)
        values = {
            "question": question.strip(),
            "request": self.constitution.request(principle, "preference").strip(),
            "first": first.strip(),
            "second": second.strip(),
        }
        return fill(re.sub(r"\{(choice|reasoning)\}\s*\Z", "", template), values).rstrip(" ")

    def _assemble(self, shown: Sequence[Sequence[Part]]) -> str:
        preamble = self.constitution.preamble.strip()
        if self.chat:
            messages: list[dict[str, str]] = []
            for part in (part for parts in shown for part in parts):
                asked = part.asked or self.constitution.transcript.answer.partition("{")[0].strip()
                said = f"{preamble}\n\n{asked}" if preamble and not messages else asked
                if messages and messages[-1]["role"] == "user":  # nothing was answered; templates want turns in turn
                    said = f"{messages.pop()['content']}\n\n{said}"
                messages.append({"role": "user", "content": said})
                if part.answer:
                    messages.append({"role": "assistant", "content": part.answer})
            return self.chat(messages)
        blocks = [preamble] if preamble else []
        blocks += ["".join(self._write(part, parts[0].asked) for part in parts) for parts in shown]
        return self.constitution.transcript.separator.join(blocks)

    def _write(self, part: Part, question: str) -> str:
        if part.kind in ("comparison", "reasoning"):
            return f"{part.asked} {part.answer}" if part.answer else part.asked
        template: str = getattr(self.constitution.transcript, part.kind)
        if part.kind == "question":
            return fill(template, {"question": part.asked, "response": part.answer})
        name = "choice" if part.kind == "answer" else part.kind
        written = fill(template, {"request": part.asked, "question": question, name: part.answer})
        return written if part.answer else written.rstrip(" ")


def _heading(label: str) -> str:
    """A pattern of a label at the beginning of a line, with the marks of a heading around it."""
    words, colon = re.escape(label.rstrip(": ")), ":" if label.endswith(":") else ""
    return rf"(?im:^[ \t>#*_]{{0,8}}{words}[ \t*_]{{0,4}}{colon}[ \t*_]{{0,4}})"


def _head(template: str) -> str:
    """What a template begins with before its first field."""
    return template.partition("{")[0].rstrip(" ")
