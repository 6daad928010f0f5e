"""The tutorial: its commands, from the wheel in an empty folder, with a smaller model than it tells of."""

import string
from pathlib import Path

import pytest
from installed import install_wheel
from places import REPOSITORY
from record_session import Session, commands_of, play, record, shorten
from tiny_models import make_llama

TUTORIAL = REPOSITORY / "selfimprove" / "cli" / "README.md"
CONSTITUTIONS = REPOSITORY / "policies" / "constitutions" / "README.md"


@pytest.mark.long
def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    """A model without training finds no right answer: its runs end where the first training would begin, and say so."""
    links = {"smollm2": make_llama(tmp_path / "model", alphabet=string.printable, max_positions=2048)}
    session = Session(tmp_path / "session", install_wheel(tmp_path / "wheel"), links)
    said = {one.command: one for _, all_said in play(TUTORIAL.read_text(), session) for one in all_said}
    run, without = (one for command, one in said.items() if command.startswith("selfimprove run"))
    assert all("no rationale was kept" in one.output and one.code == 2 for one in (run, without))
    failed = {one.command: one.output[-500:] for one in said.values() if one.code and one not in (run, without)}
    assert not failed and len(said) > 15 and not any("Traceback" in one.output for one in said.values())
    assert "line 31 and line 32" in run.output and "line 33" in run.output  # what is wrong with the file is said
    assert "shop" in said["selfimprove status"].output and "no-hints" in said["selfimprove status"].output
    assert (session.here / "for-others" / "model" / "README.md").is_file()


@pytest.mark.long
def test_every_command_of_the_session_with_a_constitution_works(tmp_path: Path) -> None:
    """Of a model without training nothing may be kept: then its run ends where it would train, and says so."""
    links = {"smollm2": make_llama(tmp_path / "model", alphabet=string.printable, max_positions=2048)}
    session = Session(tmp_path / "session", install_wheel(tmp_path / "wheel"), links)
    tried, run, status, chat = (one for _, all_said in play(CONSTITUTIONS.read_text(), session) for one in all_said)
    assert tried.code == status.code == chat.code == 0 and "anew" in tried.output and "brief" in status.output
    assert run.code == 0 or (run.code == 2 and "was kept" in run.output)
    assert not any("Traceback" in one.output for one in (tried, run, status, chat))


def test_a_session_is_written_into_its_document(tmp_path: Path) -> None:
    text = (
        "Look:\n\n```txt file=a.txt\none\n```\n\n```console\n$ cat a.txt   # 3.1 s\nold\n$ cd below\n$ pwd\n```\nend\n"
    )
    (tmp_path / "link").mkdir()
    session = Session(tmp_path / "session", tmp_path, {"below": tmp_path / "link"})
    made = record(text, session)
    assert made.startswith("Look:\n\n```txt file=a.txt\none\n```\n\n```console\n$ cat a.txt")
    assert "\none\n$ cd below\n$ pwd" in made and "old" not in made and made.endswith("~/here/below\n```\nend\n")
    assert commands_of(made[made.index("```console") :]) == ["cat a.txt", "cd below", "pwd"]
    with pytest.raises(SystemExit, match="'false' ended with exit code 1"):
        record("```console\n$ false\n```\n", session)


def test_a_long_output_loses_its_middle() -> None:
    shown = shorten("\n".join(map(str, range(100))) + "\n" + "x" * 300)
    assert shown.splitlines()[0] == "0" and "… 75 more lines" in shown and shown.endswith("x …")
