"""A small OpenAI-compatible server whose answers follow from the prompt and the seed, with faults on demand.

Run as a process of its own: `python stub_server.py PORT SETTINGS`, with the settings as JSON. `GET /stub` gives its
counts, `POST /stub` changes settings. It speaks the tiny models' character-level vocabulary.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections import Counter
from typing import Any

ALPHABET = "0123456789+=#? \n"
BOS, END, FIRST = 1, 2, 4
STANDARD = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "echo", "n"}
SETTINGS: dict[str, Any] = {
    "name": "stub",
    "length": 8,  # tokens of an answer, the end token counted
    "delay": 0.0,
    "limit": 512,  # tokens of a prompt and its completion; None: no length is told
    "key": None,
    "completions": True,  # whether there is /v1/completions at all
    "ids": True,  # whether prompts may be token ids
    "extras": True,  # vLLM's parameters: taken; False: passed over; "refused": a 400
    "logprobs": True,
    "seeds": True,
    "stops": True,
    "scoring": "prompt_logprobs",  # or "echo", or None
    "wraps": 0,  # tokens of a template that it puts around prompts
    "weights": None,  # the hash that it says to serve; None: it has no such call
    "scores": "",  # other ones give other log-probabilities
    "faults": [],  # [{"kind": …, "after": n, "count": m}]: what becomes of the completions n to n + m
    "health": 200,
    "models": [],  # more that it lists, with their parents
    "reasoning": None,  # the field of a chat's message that holds what it writes before the answer; "": it is not shown
    "answers": True,  # whether a chat's answer comes within the length
    "finish": None,  # another reason why it ended than its own, or none
}
counts: Counter[str] = Counter()
asked: Counter[str] = Counter()  # by prompt and seed
state = {"number": 0, "version": 0}


def encode(text: str) -> list[int]:
    return [BOS, *(FIRST + ALPHABET.find(one) if one in ALPHABET else 3 for one in text)]


def decode(ids: list[int]) -> str:
    return "".join(ALPHABET[one - FIRST] for one in ids if one >= FIRST)


def draw(*parts: object) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=64).digest()


def logprob(*parts: object) -> float:
    return -round(1 + draw("logprob", SETTINGS["weights"], SETTINGS["scores"], *parts)[0] / 256, 3)


class Refusal(Exception):
    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


def complete(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a completion request; raises Refusal."""
    if body.get("model") != SETTINGS["name"]:
        raise Refusal(404, f"The model `{body.get('model')}` does not exist.")
    if SETTINGS["extras"] == "refused" and set(body) - STANDARD:
        raise Refusal(400, f"Unrecognized request argument supplied: {min(set(body) - STANDARD)}")
    prompt = body["prompt"]
    if isinstance(prompt, list) and not SETTINGS["ids"]:
        raise Refusal(400, "prompt must be a string")
    ids = prompt if isinstance(prompt, list) else encode(prompt)
    room = body.get("max_tokens", 16)
    if SETTINGS["limit"] and len(ids) >= SETTINGS["limit"] + (body.get("max_tokens") == 0):
        raise Refusal(400, f"This model's maximum context length is {SETTINGS['limit']} tokens.")
    by = (ids, SETTINGS["weights"], body.get("seed", 0) if body.get("temperature") and SETTINGS["seeds"] else 0)
    number = draw(by, 0 if SETTINGS["seeds"] or not body.get("temperature") else state["number"])
    written = [FIRST + one % len(ALPHABET) for one in number[: SETTINGS["length"] - 1]] + [END]
    written, finish = (written, "stop") if len(written) <= room else (written[:room], "length")
    stops = body.get("stop") or []
    if SETTINGS["stops"]:
        for at in range(len(written)):
            if any(mark in decode(written[: at + 1]) for mark in stops):
                written, finish = written[: at + 1], "stop"
                break
    text = decode(written)
    for mark in stops if SETTINGS["stops"] else ():
        text = text.split(mark)[0]
    finish = None if SETTINGS["finish"] == "none" else SETTINGS["finish"] or finish
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    extras = SETTINGS["extras"] is True
    if body.get("logprobs") is not None and SETTINGS["logprobs"]:
        found = [logprob(ids, one, at) for at, one in enumerate(written)]
        if extras and body.get("allowed_token_ids"):
            found = [logprob(ids, body["allowed_token_ids"][0])]
            written = body["allowed_token_ids"][:1]
        choice["logprobs"] = {"token_logprobs": found, "tokens": [decode([one]) for one in written]}
    if extras and body.get("return_token_ids"):
        choice["token_ids"] = written
    scores = [logprob(ids[:at], one) for at, one in enumerate(ids)]
    if extras and SETTINGS["scoring"] == "prompt_logprobs" and body.get("prompt_logprobs") is not None:
        pairs = zip(ids[1:], scores[1:], strict=True)
        choice["prompt_logprobs"] = [None, *({str(one): {"logprob": score, "rank": 1}} for one, score in pairs)]
    if SETTINGS["scoring"] == "echo" and body.get("echo"):
        choice["logprobs"] = {"token_logprobs": [None, *scores[1:]], "tokens": [decode([one]) for one in ids]}
        choice["text"] = decode(ids)
    usage = {"prompt_tokens": len(ids) + SETTINGS["wraps"], "completion_tokens": len(written)}
    return {"object": "text_completion", "model": SETTINGS["name"], "choices": [choice], "usage": usage}


def chat(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a chat request: that to its last message as a prompt."""
    plain = {"model": body["model"], "prompt": body["messages"][-1]["content"], "logprobs": None}
    found = complete({**{name: body[name] for name in STANDARD & set(body)}, **plain})
    text = found["choices"][0]["text"]
    message = {"role": "assistant", "content": text}
    if SETTINGS["reasoning"] is not None:
        message = {"role": "assistant", "content": text if SETTINGS["answers"] else None, "reasoning_content": None}
        if SETTINGS["reasoning"]:
            message[SETTINGS["reasoning"]] = f"So {text}."
    choice = {"index": 0, "message": message, "finish_reason": found["choices"][0]["finish_reason"]}
    return {"choices": [choice], "usage": found["usage"]}


def fault() -> dict[str, Any] | None:
    number = state["number"]
    for one in SETTINGS["faults"]:
        if one.get("after", 0) <= number < one.get("after", 0) + one.get("count", 1):
            return dict(one)
    return None


async def answer(path: str, headers: dict[str, str], body: Any) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers; raises ConnectionAbortedError to break the connection."""
    if path == "/stub":
        SETTINGS.update(body or {})
        if body and "faults" in body:
            state["number"] = 0
        return 200, json.dumps({"counts": counts, "asked": asked, "keys": sorted(KEYS)}).encode(), {}
    KEYS.add(headers.get("authorization", ""))
    if SETTINGS["key"] and headers.get("authorization") != f"Bearer {SETTINGS['key']}":
        raise Refusal(401, f"Incorrect API key provided: {headers.get('authorization', '')}")
    if path == "/health":
        return SETTINGS["health"], b"", {}
    if path == "/v1/models":
        length = {"max_model_len": SETTINGS["limit"]} if SETTINGS["extras"] is True and SETTINGS["limit"] else {}
        listed = [{"id": SETTINGS["name"], **length}, *({"id": one, "parent": by} for one, by in SETTINGS["models"])]
        return 200, json.dumps({"data": listed}).encode(), {}
    if path == "/collective_rpc" and SETTINGS["weights"] is not None:
        return 200, json.dumps({"results": [call(body)]}).encode(), {}
    if path == "/reset_prefix_cache" and SETTINGS["weights"] is not None:
        counts["cache reset"] += 1
        return 200, b'{"success": true}', {}
    if path not in ("/v1/completions", "/v1/chat/completions") or (
        path == "/v1/completions" and not SETTINGS["completions"]
    ):
        raise Refusal(404, "Not Found")
    return await write(path, body)


def call(body: dict[str, Any]) -> Any:
    """What vLLM's workers answer to a call of our extension."""
    if body["method"] == "serve_named":
        counts["swapped"] += 1
        SETTINGS["weights"] = body["kwargs"]["name"]
    return {"weights": SETTINGS["weights"], "folder": ""}


async def write(path: str, body: Any) -> tuple[int, bytes, dict[str, str]]:
    made = fault() or {}
    state["number"] += 1
    counts["asked"] += 1
    if SETTINGS.get("remember"):
        asked[hashlib.blake2b(json.dumps([body.get("prompt"), body.get("seed")]).encode()).hexdigest()[:16]] += 1
    kind = made.get("kind")
    if kind == "die":
        os._exit(9)
    if kind == "hang":
        await asyncio.sleep(3600)
    if kind == "drop":
        raise ConnectionAbortedError
    if kind == "garbage":
        return 200, b'{"choices": [{"text": "12', {}
    if kind == "shape":
        return 200, b'{"choices": []}', {}
    if kind == "error":
        return 200, json.dumps({"error": {"message": made["message"], "code": made.get("code")}}).encode(), {}
    if kind == "slow":
        await asyncio.sleep(made["seconds"])
    if isinstance(kind, int):
        raise Refusal(kind, "not now", **({"retry-after": str(made["wait"])} if "wait" in made else {}))
    if SETTINGS["delay"]:
        await asyncio.sleep(SETTINGS["delay"])
    found = json.dumps(complete(body) if path == "/v1/completions" else chat(body)).encode()
    counts["answered"] += 1
    return 200, found, {}


KEYS: set[str] = set()


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
            size = int(headers.get("content-length", 0))
            raw = await reader.readexactly(size) if size else b""
            more: dict[str, str] = {}
            try:
                path = first.split(" ")[1].split("?")[0]
                status, content, more = await answer(path, headers, json.loads(raw) if raw else None)
            except Refusal as refusal:
                error = {"error": {"message": str(refusal), "code": refusal.status}}
                status, content, more = refusal.status, json.dumps(error).encode(), refusal.headers
            more = {"content-type": "application/json", "content-length": str(len(content)), **more}
            shown = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} x\r\n{shown}\r\n".encode() + content)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(serve_connection, "127.0.0.1", port, limit=1 << 24, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # it ends with the test that started it
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    SETTINGS.update(json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    asyncio.run(main(int(sys.argv[1])))
