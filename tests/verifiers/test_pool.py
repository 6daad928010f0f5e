"""The pool gives every verdict back, whatever happens to its processes, and leaves none behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from builders import make_problem, make_rationale
from places import SUPPORT

from selfimprove.errors import VerifierError
from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.records import Verdict
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.worker import _confine
from selfimprove.verifiers.workers import WINDOW, Judged, VerifierPool

LIMITS = Limits(cpu_seconds=1, wall_seconds=10, memory_mb=256)
MATH = MathVerifier(VerifierSettings(name="math"))
# sympy looks for an integral without an end, and multiplies out a number that no memory holds.
TAKES_CPU, TAKES_MEMORY = r"\boxed{\int e^{x^{x}} \sin(x^x) dx}", r"\boxed{\prod_{k=1}^{9999999} k}"
TEXTS = [
    ("7", "#### 7"), ("x+1", r"\boxed{1+x}"), ("x+1", r"\boxed{2+x}"), ("7", "no idea"), ("x", "#### 8"),
    (r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt{2}}}"), (r"\{1,2\}", r"\boxed{\{2,1\}}"),
    ("(1,2)", r"\boxed{(2,1)}"), ("2x", "3 + 4 = 8 and so \\boxed{x+x}"),
]  # fmt: skip


def judged(gold: str, text: str) -> Judged:
    problem = make_problem("How many?", gold)
    return MATH, problem, make_rationale(problem, text, answer=MATH.extract_answer(text, problem))


def numbered(number: int) -> Judged:
    """One that needs a worker and is right."""
    return judged(rf"\sin 2x+{number}", rf"\boxed{{{number}+2\sin x\cos x}}")


def verify(pool: VerifierPool, one: Judged) -> Verdict:
    verifier, problem, rationale = one
    return pool.verify(verifier, problem=problem, rationale=rationale)


def in_session(leader: int) -> dict[int, str]:
    """The living processes of a session, and what they were started as."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


def server_of(pool: VerifierPool) -> int:
    assert pool._server is not None
    return pool._server.pid


def children_of(pool: VerifierPool) -> list[int]:
    server = server_of(pool)
    return [pid for pid in in_session(server) if pid != server]


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(workers=2, limits=LIMITS) as made:
        yield made


def test_verdicts_come_in_order_and_are_those_of_this_process(pool: VerifierPool) -> None:
    tasks = [judged(*pair) for pair in TEXTS * 3]
    tasks.insert(3, judged("7", TAKES_CPU))
    verdicts = list(pool.verify_all(tasks))
    assert [verdict.rationale for verdict in verdicts] == [rationale.id for _, _, rationale in tasks]
    assert verdicts.pop(3).outcome == "undecided"
    tasks.pop(3)
    assert verdicts == [v.verify(problem=problem, rationale=rationale) for v, problem, rationale in tasks]
    assert {verdict.outcome for verdict in verdicts} == {"correct", "incorrect"}


@pytest.mark.parametrize(
    ("text", "limits", "said"),
    [
        (TAKES_CPU, Limits(cpu_seconds=0.5, wall_seconds=30), "over the limit of 0.5 s of CPU time"),
        (TAKES_CPU, Limits(cpu_seconds=30, wall_seconds=0.7), "over the limit of 0.7 s on the clock"),
        (TAKES_MEMORY, Limits(cpu_seconds=30, wall_seconds=60, memory_mb=48), "over the limit of 48 MB of memory"),
    ],
    ids=["cpu", "wall", "memory"],
)
def test_a_limit_is_named_and_the_pool_goes_on(text: str, limits: Limits, said: str) -> None:
    with VerifierPool(limits=limits) as pool:
        assert verify(pool, numbered(1)).outcome == "correct"
        for _ in range(2):
            verdict = verify(pool, judged("7", text))
            assert (verdict.outcome, said in verdict.reason) == ("undecided", True), verdict.reason
            assert verify(pool, numbered(2)).outcome == "correct"


def test_a_worker_that_stands_still_is_replaced() -> None:
    with VerifierPool(limits=Limits(cpu_seconds=5, wall_seconds=1.5)) as pool:
        assert verify(pool, numbered(1)).outcome == "correct"
        (worker,) = children_of(pool)
        os.kill(worker, signal.SIGSTOP)
        assert "1.5 s on the clock" in verify(pool, numbered(2)).reason
        assert verify(pool, numbered(3)).outcome == "correct"
        assert children_of(pool) != [worker]


@pytest.mark.parametrize("whom", ["worker", "server"])
def test_a_killed_process_loses_nothing(whom: str, pool: VerifierPool) -> None:
    tasks = [numbered(number) for number in range(120)]
    verdicts: list[Verdict] = []
    victims: set[int] = set()
    for at, verdict in enumerate(pool.verify_all(tasks)):
        verdicts.append(verdict)
        if at in (10, 60):
            # At 10 and 60 some sixteen tasks are under way or wait in the server.
            victim = server_of(pool) if whom == "server" else children_of(pool)[0]
            os.kill(victim, signal.SIGKILL)
            victims.add(victim)
    assert [verdict.rationale for verdict in verdicts] == [rationale.id for _, _, rationale in tasks]
    assert {verdict.outcome for verdict in verdicts} == {"correct"}
    assert len(victims) == 2


def test_a_task_whose_worker_is_always_killed_is_given_up(pool: VerifierPool) -> None:
    verify(pool, numbered(1))
    verifier, problem, rationale = judged("7", TAKES_CPU)
    future = pool.submit(verifier, problem=problem, rationale=rationale)
    while not future.done():
        for worker in children_of(pool):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.05)
    assert future.result().outcome == "undecided"
    assert verify(pool, numbered(2)).outcome == "correct"


def test_a_server_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another package of this name stands first on the path, and its module fails."""
    (tmp_path / "selfimprove").mkdir()
    (tmp_path / "selfimprove" / "__init__.py").write_text("raise ImportError('no such thing')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with VerifierPool(limits=LIMITS) as pool, pytest.raises(VerifierError) as error:
        verify(pool, numbered(1))
    assert "no such thing" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_interpreter_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with VerifierPool(limits=LIMITS) as pool, pytest.raises(VerifierError) as error:
        verify(pool, numbered(1))
    assert "\n" not in str(error.value)


def test_a_closed_pool_says_so(pool: VerifierPool) -> None:
    pool.close()
    with pytest.raises(VerifierError, match="closed"):
        verify(pool, numbered(1))


def test_eight_threads_get_their_own_verdicts(pool: VerifierPool) -> None:
    found: dict[int, list[Verdict]] = {}
    tasks = {thread: [numbered(100 * thread + number) for number in range(15)] for thread in range(8)}

    def run(thread: int) -> None:
        found[thread] = [verify(pool, one) for one in tasks[thread]]

    threads = [threading.Thread(target=run, args=(thread,)) for thread in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {thread: [one.rationale for one in verdicts] for thread, verdicts in found.items()} == {
        thread: [rationale.id for _, _, rationale in ones] for thread, ones in tasks.items()
    }
    assert {one.outcome for verdicts in found.values() for one in verdicts} == {"correct"}


def test_the_event_loop_keeps_ticking(pool: VerifierPool) -> None:
    tasks = [numbered(number) for number in range(60)] + [judged("7", TAKES_CPU)]

    async def run() -> tuple[list[Verdict], float]:
        longest, running = 0.0, True

        async def tick() -> None:
            nonlocal longest
            while running:
                start = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - start)

        ticking = asyncio.create_task(tick())
        verdicts = await asyncio.gather(*(pool.verify_async(v, problem=p, rationale=r) for v, p, r in tasks))
        running = False
        await ticking
        return verdicts, longest

    verdicts, longest = asyncio.run(run())
    assert [verdict.rationale for verdict in verdicts] == [rationale.id for _, _, rationale in tasks]
    assert {verdict.outcome for verdict in verdicts[:-1]} == {"correct"}
    assert longest < 0.5  # the slow task alone takes a second


def test_a_caller_that_gives_up_takes_nothing_from_others(pool: VerifierPool) -> None:
    assert verify(pool, numbered(0)).outcome == "correct"

    async def run() -> Verdict:
        verifier, problem, rationale = judged("7", TAKES_CPU)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.verify_async(verifier, problem=problem, rationale=rationale), 0.3)
        await asyncio.sleep(2.5)  # until the verdict that nobody waits for has come
        verifier, problem, rationale = numbered(1)
        return await asyncio.wait_for(pool.verify_async(verifier, problem=problem, rationale=rationale), 10)

    assert asyncio.run(run()).outcome == "correct"


def test_what_is_cancelled_is_not_worked_off() -> None:
    with VerifierPool(workers=1, limits=Limits(cpu_seconds=20, wall_seconds=20)) as pool:
        assert verify(pool, numbered(0)).outcome == "correct"

        async def run() -> float:
            slow = [
                asyncio.create_task(pool.verify_async(v, problem=p, rationale=r))
                for v, p, r in [judged("7", TAKES_CPU)] * 5
            ]
            await asyncio.sleep(0.5)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            start = time.monotonic()
            verifier, problem, rationale = numbered(1)
            verdict = await pool.verify_async(verifier, problem=problem, rationale=rationale)
            assert verdict.outcome == "correct"
            return time.monotonic() - start

        assert asyncio.run(run()) < 5


def test_an_endless_source_is_read_only_a_bounded_number_ahead() -> None:
    for slow, most in ((True, 40), (False, WINDOW + 40)):
        read = 0

        def source(slow: bool = slow) -> Iterator[Judged]:
            nonlocal read
            for number in count():
                read += 1
                yield judged("7", TAKES_CPU) if slow or not number else judged("7", f"{number} #### 7")

        with VerifierPool(workers=2, limits=Limits(cpu_seconds=0.3)) as pool:
            verdicts = pool.verify_all(source())
            first = next(verdicts)
            assert first.outcome == "undecided"
            assert read <= most
            ahead = [read - at for at, _ in zip(range(2, 6), verdicts, strict=False)]
            assert max(ahead) <= most


def test_no_signal_of_the_caller_changes_and_a_thread_can_use_it() -> None:
    before = {one: signal.getsignal(one) for one in signal.valid_signals()}
    alarm = signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_PROF)
    found: list[Verdict] = []

    def run() -> None:
        with VerifierPool(limits=LIMITS) as pool:
            found.extend(pool.verify_all([numbered(1), judged("7", TAKES_CPU), numbered(2)]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert [verdict.outcome for verdict in found] == ["correct", "undecided", "correct"]
    assert {one: signal.getsignal(one) for one in signal.valid_signals()} == before
    assert (signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_PROF)) == alarm


def test_a_verdict_that_nobody_waits_for_does_not_disturb_closing() -> None:
    failed: list[object] = []
    hook, threading.excepthook = threading.excepthook, failed.append
    try:
        with VerifierPool(limits=LIMITS) as pool:
            verify(pool, numbered(1))
            verifier, problem, rationale = judged("7", TAKES_CPU)
            given_up = pool.submit(verifier, problem=problem, rationale=rationale)
            waited = pool.submit(verifier, problem=problem, rationale=rationale)
            assert given_up.cancel()
        with pytest.raises(VerifierError, match="closed"):
            waited.result(5)
    finally:
        threading.excepthook = hook
    assert failed == []


def test_closing_leaves_no_process() -> None:
    pool = VerifierPool(workers=2, limits=LIMITS)
    verify(pool, numbered(1))
    verifier, problem, rationale = judged("7", TAKES_CPU)
    pool.submit(verifier, problem=problem, rationale=rationale)
    server = server_of(pool)
    assert len(in_session(server)) >= 2
    pool.close()
    assert until(lambda: not in_session(server), 5)


PROGRAM = textwrap.dedent(
    """
    import itertools, signal, sys, time
    from test_pool import LIMITS, TAKES_CPU, VerifierPool, judged, numbered, server_of, verify
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would pass over Ctrl-C
    pool = VerifierPool(workers=2, limits=LIMITS)
    with pool:
        verify(pool, numbered(1))
        print(server_of(pool), flush=True)
        for _ in pool.verify_all(judged("7", TAKES_CPU) for _ in itertools.count()):
            pass
    """
)


@pytest.fixture
def program() -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A program of its own that verifies without end, and the process of its pool."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=Path(__file__).parent, env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )  # fmt: skip
    assert started.stdout is not None
    line = started.stdout.readline()
    if not line:
        pytest.fail(started.communicate()[1])
    server = int(line)
    assert until(lambda: len(in_session(server)) == 3)
    yield started, server
    started.kill()
    started.communicate()


def test_a_killed_parent_leaves_no_process(program: tuple["subprocess.Popen[str]", int]) -> None:
    started, server = program
    os.kill(started.pid, signal.SIGKILL)
    assert until(lambda: not in_session(server), 5), in_session(server)


def test_ctrl_c_ends_a_program_and_leaves_no_process(program: tuple["subprocess.Popen[str]", int]) -> None:
    started, server = program
    time.sleep(0.3)
    os.killpg(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=8)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    assert started.returncode == -signal.SIGINT
    assert until(lambda: not in_session(server), 5), in_session(server)


def test_a_fork_can_use_the_pool_on_its_own(pool: VerifierPool) -> None:
    assert verify(pool, numbered(1)).outcome == "correct"
    server = server_of(pool)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            verdict = verify(pool, numbered(2))
            started = server_of(pool)
            pool.close()
            os.write(writer, f"{verdict.outcome} {started}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        outcome, written = said.read().split()
    os.waitpid(child, 0)
    own = int(written)
    assert outcome == "correct"
    assert own != server
    assert not in_session(own)
    assert verify(pool, numbered(3)).outcome == "correct"
    assert server_of(pool) == server


def test_a_fork_while_a_lock_is_held_can_use_the_pool_and_end(pool: VerifierPool) -> None:
    assert verify(pool, numbered(1)).outcome == "correct"
    with pool._lock, pool._sending:
        child = os.fork()
        if child == 0:
            code = 1
            with suppress(BaseException):
                code = 0 if verify(pool, numbered(2)).outcome == "correct" else 1
                pool.close()
            os._exit(code)
    ended = []
    assert until(lambda: bool(ended.append(os.waitpid(child, os.WNOHANG)) or ended[-1][0]), 20), "the fork hangs"
    assert os.waitstatus_to_exitcode(ended[-1][1]) == 0


def test_nothing_starts_before_it_is_needed() -> None:
    script = textwrap.dedent(
        """
        import sys, threading
        started = []
        sys.addaudithook(lambda event, _: started.append(event) if event in ("subprocess.Popen", "os.fork") else None)
        from test_pool import VerifierPool, judged
        with VerifierPool(workers=4) as pool:
            tasks = [judged("7", "#### 7"), judged("7", "no idea"), judged("7", "#### 8"), judged("1/2", "0.5")]
            print(*(verdict.outcome for verdict in pool.verify_all(tasks)), started, threading.active_count())
            print("sympy" in sys.modules)
        """
    )
    folder, env = Path(__file__).resolve().parent, {**os.environ, "PYTHONPATH": str(SUPPORT)}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, env=env)
    assert ran.stdout.splitlines() == ["correct incorrect incorrect correct [] 1", "False"], ran.stderr


FORBIDDEN: dict[str, Callable[[Path, int], object]] = {
    "os.system": lambda path, port: os.system(f"touch {path}"),
    "subprocess": lambda path, port: subprocess.run(["touch", str(path)]),
    "os.posix_spawn": lambda path, port: os.posix_spawn("/bin/touch", ["touch", str(path)], {}),
    "os.execv": lambda path, port: os.execv("/bin/touch", ["touch", str(path)]),
    "os.fork": lambda path, port: os.fork(),
    "open for writing": lambda path, port: path.write_text("x"),
    "open for appending": lambda path, port: os.open(path, os.O_CREAT | os.O_APPEND),
    "open for reading and writing": lambda path, port: os.open(__file__, os.O_RDWR),
    "os.open": lambda path, port: os.open(path, os.O_CREAT | os.O_WRONLY),
    "mkdir": lambda path, port: path.mkdir(),
    "remove": lambda path, port: (path.parent / "kept").unlink(),
    "rename": lambda path, port: (path.parent / "kept").rename(path),
    "symlink": lambda path, port: path.symlink_to("/etc/passwd"),
    "chmod": lambda path, port: (path.parent / "kept").chmod(0),
    "os.kill": lambda path, port: os.kill(os.getppid(), 0),
    "os.killpg": lambda path, port: os.killpg(os.getpgid(os.getppid()), 0),
    "connect": lambda path, port: socket.create_connection(("127.0.0.1", port)),
    "bind": lambda path, port: socket.socket().bind(("127.0.0.1", 0)),
    "getaddrinfo": lambda path, port: socket.getaddrinfo("localhost", port),
    "gethostbyname": lambda path, port: socket.gethostbyname("localhost"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_worker_must_not_touch_the_machine(name: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    path = tmp_path / "canary"
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        child = os.fork()
        if child == 0:
            confined(lambda: FORBIDDEN[name](path, port), writer)
        os.close(writer)
        with os.fdopen(reader) as said:
            assert said.read() == "PermissionError"
        os.waitpid(child, 0)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "kept"


def confined(call: Callable[[], object], writer: int) -> None:
    """In a forked child: do something as a worker, and write what came of it."""
    said = "done"
    try:
        _confine(Limits())
        call()
    except BaseException as error:
        said = type(error).__name__
    finally:
        os.write(writer, said.encode())
        os._exit(0)
