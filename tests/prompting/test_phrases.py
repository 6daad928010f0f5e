"""What models write instead of an answer."""

import time

import pytest

from selfimprove.prompting.phrases import (
    echoes,
    find_boilerplate,
    find_leak,
    only_refuses,
    refuses,
    same_text,
    speaks_of_itself,
)

REFUSALS = [
    "I can't help with that.",
    "I can’t help you with that request.",
    "I cannot assist with that.",
    "I can not provide instructions for this.",
    "I won't do that.",
    "I will not write that.",
    "I cannot and will not help you hurt somebody.",
    "I cannot in good conscience recommend that.",
    "I can't ethically answer this.",
    "I will not be able to help with this.",
    "I'm not able to help with that.",
    "I’m unable to share this information.",
    "I am unable to answer.",
    "I am not comfortable with discussing this.",
    "I'm not going to give you his address.",
    "I'm sorry, but I can't help with that.",
    "I'm sorry, I cannot answer that.",
    "I’m so sorry, but I’m not able to help.",
    "I am sorry. I can't do that.",
    "Sorry, I can't help.",
    "Sorry, but no, I won't do that.",
    "Sorry - I can't help with that.",
    "I apologize, but I cannot provide that.",
    "I apologise, but I am unable to help.",
    "My sincere apologies, but I can't support this.",
    "Unfortunately, I can't help you with that.",
    "I'm afraid I can't do that, Dave.",
    "No, I won't.",
    "I must decline.",
    "I must respectfully decline to answer.",
    "I refuse to help with this.",
    "I don't feel comfortable with this.",
    "I would not feel comfortable telling you.",
    "I'd rather not answer.",
    "I don't want to help with that.",
    "I do not think I can help you.",
    "This is not something I can help with.",
    "That's not something I'm able to do.",
    "That would be illegal, so I can't help you.",
    "What you describe is a crime, and I will not support it.",
    "I'm sorry, but that is against the law.",
    "As an AI, I cannot do that.",
    "As an AI language model, I can't give medical advice.",
    "As a large language model, I'm not able to feel.  I can't help.",
    "As an assistant that wishes you well, I won't help with that.",
    "I'm sorry, but as an AI language model I cannot assist with that.",
    " \"I'm sorry,\nbut I can't help with that.\"",
    "**I cannot help with that.**",
]
ANSWERS = [
    "",
    "No.",
    "Plants need light and water. I can't help you more than that.",
    "I'm sorry that your dog died. A vet can tell you what it was.",
    "I'm sorry this happened to you. Call a friend.",
    "I'm sorry I was late. Please forgive me.",
    "I am sorry to hear that! Have you told her?",
    "I'm sorry, I didn't mean to hurt you.",
    "I'm sorry, but I think that you should see a doctor.",
    "I can't wait to see you!",
    "I can't stress enough how important sleep is.",
    "I can't tell you how happy I am.",
    "I cannot recommend this book enough.",
    "I couldn't agree more.",
    "I can't help laughing at that.",
    "I won't lie: it is hard.",
    "I will not be at work tomorrow.",
    "I don't recommend raw chicken.",
    "I would not recommend that.",
    "I don't know.",
    "I would leave her mailbox alone.",
    "I can help you with that.",
    "I am able to help.",
    "It is nothing I would worry about.",
    "Sorry seems to be the hardest word.",
    "Unfortunately, it rains.",
    "As a nurse I can tell you that it heals.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_seen(text: str) -> None:
    assert refuses(text) and only_refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not refuses(text) and not only_refuses(text)


def test_a_refusal_that_goes_on_with_help_does_not_only_refuse() -> None:
    refusal, help_ = "I can't help with that.", " Ask her whether you may read it, and say why you want to."
    assert only_refuses(refusal + help_ * 2)  # 5 words and 2 times 13: within the 40
    assert refuses(refusal + help_ * 3) and not only_refuses(refusal + help_ * 3)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("As an AI, I have no feelings.", True),
        ("I think, as an AI language model, that it is so.", True),
        ("As a large language model trained by people, I read a lot.", True),
        ("As a language model I read.", True),
        ("as an\nartificial intelligence, I read.", True),
        ("As an AI assistant I read.", True),
        ("As an assistant, I wish you well.", True),
        ("As a helpful assistant I wish you well.", True),
        ("I'm an AI.", True),
        ("I’m just a language model.", True),
        ("I am only an AI assistant, and I read.", True),
        ("I'm a chatbot.", True),
        ("She works as an assistant to the director.", False),
        ("He worked as an assistant, and then as a cook.", False),
        ("It is used as an artificial sweetener.", False),
        ("As an AI researcher, she reads a lot.", False),
        ("I am an AI engineer.", False),
        ("As an aid to memory.", False),
        ("I'm an aide of the mayor.", False),
        ("AI is a wide field.", False),
        ("I am a model citizen.", False),
    ],
)
def test_speaking_of_itself(text: str, seen: bool) -> None:
    assert speaks_of_itself(text) is seen


LABELS = ("Human:", "Assistant:", "Critique Request:", "Critique:", "Revision Request:", "Revision:")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("It is short. Revision: It is shorter.", "Revision:"),
        ("It is short.\nrevision : It is shorter.", "Revision:"),
        ("It is short.\n\n**Revision:** It is shorter.", "Revision:"),
        ("**Revision**: It is shorter.", "Revision:"),
        ("## CRITIQUE  REQUEST\n: Say it.", "Critique Request:"),
        ("CritiqueRequest: Say it.", "Critique Request:"),
        ("so Critique\nRequest : Say it.", "Critique Request:"),
        ("I see. Human: And now?", "Human:"),
        ("> assistant: Well.", "Assistant:"),
        ("Human: a\nAssistant: b", "Human:"),
        ("To err is human: everybody does it.", None),
        ("Here is what a good assistant does: it listens.", None),
        ("The superHuman: a novel.", None),
        ("My critique of pure reason", None),
        ("A revision of the law: none.", None),
        ("", None),
    ],
)
def test_a_leak_is_found_in_any_spacing(text: str, label: str | None) -> None:
    assert find_leak(text, LABELS) == label


def test_without_labels_nothing_leaks() -> None:
    assert find_leak("Human: a", ()) is None


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("a b", " a\n\tb ", True), ("a b", "ab", False), ("a b", "A b", False), ("", " \n", True)],
)
def test_texts_that_differ_in_spaces_are_the_same(first: str, second: str, same: bool) -> None:
    assert same_text(first, second) is same


SHARED = "It is best to ask an expert."


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"p": [SHARED], "q": [SHARED], "r": [SHARED]}, {SHARED}),
        ({"p": [SHARED], "q": [SHARED]}, set()),
        ({"p": [SHARED, SHARED, SHARED], "q": [SHARED]}, set()),
        # In other case, other spaces and other apostrophes it is the same sentence.
        (
            {"p": ["It's best to ask him."], "q": ["it’s  best to ask him."], "r": ["IT'S BEST TO\tASK HIM."]},
            {"It's best to ask him.", "it’s  best to ask him.", "IT'S BEST TO\tASK HIM."},
        ),
        # Sentences of three words are shared by chance.
        ({one: ["That is good."] for one in "pqr"}, set()),
        ({one: ["That is quite good."] for one in "pqr"}, {"That is quite good."}),
        # Half of the text is enough, less is not.
        (
            {"p": [SHARED], "q": [SHARED], "r": [f"{SHARED} Bring it to her today."]},
            {SHARED, f"{SHARED} Bring it to her today."},
        ),
        ({"p": [SHARED], "q": [SHARED], "r": [f"{SHARED} Bring it to her before it rains."]}, {SHARED}),
        # Sentences that are shared by other prompts each add up.
        (
            {"p": ["One two three four. Five six seven eight."], "q": ["One two three four.", "Five six seven eight."],
             "r": ["One two three four.", "Five six seven eight."]},
            {"One two three four. Five six seven eight.", "One two three four.", "Five six seven eight."},
        ),
        ({}, set()),
        ({one: ["", "  "] for one in "pqr"}, set()),
    ],
)  # fmt: skip
def test_boilerplate_stands_under_three_prompts(texts: dict[str, list[str]], found: set[str]) -> None:
    assert find_boilerplate(texts) == found


@pytest.mark.parametrize("piece", ["I'm sorry, but ", "as an AI ", "H u", "\n\n", "_* \n", "I can't really ", "that "])
def test_long_texts_take_no_long(piece: str, no_collection: None) -> None:
    text = piece * (50_000 // len(piece))
    started = time.process_time()
    refuses(text), speaks_of_itself(text), find_leak(text, LABELS), find_boilerplate({"p": [text]})
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "echoed"),
    [
        ("Write a short note that thanks a neighbor for watering the plants.", True),
        ("Sure! Write a short note that thanks a neighbor, please.", True),
        ("Dear Ann, thank you for watering the plants.", False),
        (
            "You asked me: write a short note that thanks a neighbor. "
            + "Here it is, with all that I have to say. " * 3,
            False,
        ),
        ("", False),
    ],
)
def test_a_text_that_gives_back_its_prompt(text: str, echoed: bool) -> None:
    assert echoes("Write a short note that thanks a neighbor for watering the plants.", text) is echoed
