"""What an examination finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "doubtful", "wrong"]

# By its id: what a finding is about. A recipe overrules a wrong one by this name.
TOPICS = {
    "begin": "what a plain prompt begins with",
    "chat begin": "what a prompt of the chat template begins with",
    "likelihood": "how likely the model finds plain English",
    "end": "what ends a completion, in trained rows and in samples",
    "padding": "what fills up shorter rows",
    "vocabulary": "the tokenizer's tokens and the model's embeddings",
    "template": "whether the chat template keeps what it is given",
    "system": "whether the chat template takes system turns",
    "turn": "whether a prompt ends where the model's turn begins",
    "clock": "whether prompts depend on the day",
    "stop": "whether the tokenizer can write the recipe's stop strings",
    "text": "whether texts survive the way to tokens and back",
    "length": "the longest prompt and the model's context",
    "sampling": "what its makers set for sampling, and this project does not use",
    "saving": "whether transformers will save the model after training",
    "dtype": "the precision of the weights and of the run",
    "engine": "whether the recipe's engine and trainer can use the architecture",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and what to do where it is not right."""

    id: str
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}" if self.advice else self.text
