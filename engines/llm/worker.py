"""A language model in a process of its own, by the transformers library: requests come on standard input, text goes to standard
output, both as JSON, one object a line. When the input closes, the process ends.

Requests: ``{"id", "messages", "max_tokens", "temperature", "top_p", "stop"}`` and ``{"cancel": id}``; with ``"warm": true`` a
prompt is only read, to be kept for all that begin alike. Answers: once ``{"ready": {...}}`` or ``{"failed": why}``, then
``{"id", "prompt_tokens", "kept"}`` (so many of them were kept), ``{"id", "text"}`` for each piece, and last ``{"id", "done":
"stop" | "length"}`` or ``{"id", "error"}``; a cancelled one has no last line. Several answers take turns, token by token. A
cancelled one stops within a token; a long prompt is read in pieces, so that it need not be read to its end.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

PREFILL_TOKENS = 128
SHARED_PROMPTS = 2
KEPT_PROMPTS = 4
"""Conversations whose attention states are kept: the next turn of one begins with what was read for the last."""
WORTH_REUSING = 16
UNFINISHED = "\ufffd"
"""What a tokenizer writes for the first bytes of a character."""

Send = Callable[[dict[str, Any]], None]


class Kept:
    """Attention states of prompts that were read, newest last."""

    def __init__(self) -> None:
        self._kept: list[tuple[list[int], Any]] = []
        self._shared: list[tuple[list[int], Any]] = []

    def share(self, ids: list[int], cache: Any) -> None:
        """Keep ``cache`` for all conversations that begin like ``ids``."""
        self._shared = [*self._shared[-(SHARED_PROMPTS - 1) :], (ids, cache)]

    def put(self, ids: list[int], cache: Any) -> None:
        """Keep ``cache``, which holds the states of ``ids``."""
        self._kept = [*self._kept[-(KEPT_PROMPTS - 1) :], (ids, cache)]

    def take(self, ids: list[int]) -> tuple[int, Any]:
        """A cache of the first so many of ``ids``, no longer kept here; an empty one where too little is in common."""
        every = [*self._kept, *self._shared]
        common = [_common(ids, theirs) for theirs, _ in every]
        best = max(range(len(common)), key=common.__getitem__, default=-1)
        # The last token is read again: what follows it is what is asked for.
        count = min(common[best], len(ids) - 1) if best >= 0 else 0
        if count < WORTH_REUSING:
            return 0, DynamicCache()
        theirs, cache = every[best]
        if best < len(self._kept):
            del self._kept[best]
        else:
            cache = copy.deepcopy(cache)
        if count < len(theirs):
            try:
                cache.crop(count - len(theirs))  # negative: so many fewer
            except RuntimeError:
                return 0, DynamicCache()  # models that look back on a window only
        return count, cache


class Answer:
    """One answer while it is made. ``steps`` does one token, or one piece of the prompt, at a time."""

    def __init__(self, model: Any, tokenizer: Any, request: dict[str, Any], kept: Kept) -> None:
        self._model, self._tokenizer, self._kept = model, tokenizer, kept
        self._request = request
        text = tokenizer.apply_chat_template(
            request["messages"], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        self._prompt: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        longest = getattr(model.config, "max_position_embeddings", None)
        if longest is not None and len(self._prompt) + request["max_tokens"] > longest:
            raise ValueError(f"{len(self._prompt)} tokens and {request['max_tokens']} to come are more than {longest}")

    def steps(self, send: Send) -> Iterator[None]:
        """Run it; ``send`` gets what is said of it."""
        key, ids = self._request["id"], self._prompt
        done, cache = self._kept.take(ids)
        send({"id": key, "prompt_tokens": len(ids), "kept": done})
        read = ids[:done]
        try:
            logits = None
            while done < len(ids):
                piece = ids[done : done + PREFILL_TOKENS]
                logits = self._forward(piece, cache)
                done += len(piece)
                read = ids[:done]
                yield
            if self._request.get("warm"):
                self._kept.share(read, cache)
                cache = None
                send({"id": key, "done": "stop"})
                return
            stops = self._stop_tokens()
            text = _Pieces(self._tokenizer, self._request["stop"])
            for _ in range(self._request["max_tokens"]):
                token = _sample(logits, self._request["temperature"], self._request["top_p"])
                if token in stops:
                    break
                piece_text = text.add(token)
                if piece_text:
                    send({"id": key, "text": piece_text})
                if text.stopped:
                    break
                logits = self._forward([token], cache)
                read = [*read, token]
                yield
            else:
                self._end(text, send, "length")
                return
            self._end(text, send, "stop")
        except Exception:
            cache = None  # nobody knows how far it was filled
            raise
        finally:
            if cache is not None:
                self._kept.put(read, cache)

    def _end(self, text: _Pieces, send: Send, reason: str) -> None:
        rest = text.finish()
        if rest:
            send({"id": self._request["id"], "text": rest})
        send({"id": self._request["id"], "done": reason})

    def _forward(self, ids: list[int], cache: Any) -> Any:
        """Read ``ids``; the logits after the last, float32 ``[vocabulary]``."""
        with torch.inference_mode():
            out = self._model(
                input_ids=torch.tensor([ids], device=self._model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            return out.logits[0, -1].float()

    def _stop_tokens(self) -> set[int]:
        named = getattr(self._model.generation_config, "eos_token_id", None)
        return {t for t in (*(named if isinstance(named, list) else [named]), self._tokenizer.eos_token_id) if t is not None}


class _Pieces:
    """Text out of tokens: whole characters only, and nothing of a stop text."""

    def __init__(self, tokenizer: Any, stops: list[str]) -> None:
        self.stopped = False
        self._tokenizer, self._stops = tokenizer, [s for s in stops if s]
        self._ids: list[int] = []
        self._sent = 0

    def add(self, token: int) -> str:
        """The text that can be said after ``token``."""
        self._ids.append(token)
        text = self._text()
        at = min((i for i in map(text.find, self._stops) if i >= 0), default=-1)
        if at >= 0:
            self.stopped = True
            return self._upto(text, at)
        held = max((n for s in self._stops for n in range(1, len(s)) if text.endswith(s[:n])), default=0)
        while text[: len(text) - held].endswith(UNFINISHED):
            held += 1
        return self._upto(text, len(text) - held)

    def finish(self) -> str:
        """What was held back."""
        text = self._text()
        return "" if self.stopped else self._upto(text, len(text))

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _upto(self, text: str, end: int) -> str:
        piece, self._sent = text[self._sent : end], max(self._sent, end)
        return piece


def _sample(logits: Any, temperature: float, top_p: float) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    chances, order = torch.softmax(logits / temperature, -1).sort(descending=True)
    # As nucleus sampling has it (Holtzman et al., 2020): the fewest tokens whose chances add up to ``top_p``.
    chances[chances.cumsum(-1) - chances >= top_p] = 0.0
    return int(order[torch.multinomial(chances, 1)])


def _common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def serve(model: Any, tokenizer: Any, inbox: queue.Queue[dict[str, Any] | None], send: Send) -> None:
    """Answer what ``inbox`` holds until it holds ``None``."""
    kept, running = Kept(), dict[int, Iterator[None]]()
    while True:
        while not running or not inbox.empty():
            message = inbox.get()
            if message is None:
                return
            if "cancel" in message:
                answer = running.pop(message["cancel"], None)
                if answer is not None:
                    answer.close()  # type: ignore[attr-defined]
                continue
            try:
                running[message["id"]] = Answer(model, tokenizer, message, kept).steps(send)
            except Exception as e:
                send({"id": message["id"], "error": f"{type(e).__name__}: {e}"})
        for key, answer in list(running.items()):
            try:
                next(answer)
            except StopIteration:
                del running[key]
            except Exception as e:
                del running[key]
                send({"id": key, "error": f"{type(e).__name__}: {e}"})


def _read(requests: BinaryIO, inbox: queue.Queue[dict[str, Any] | None]) -> None:
    for line in requests:
        inbox.put(json.loads(line))
    os._exit(0)  # the server is gone: not one token more


def main() -> None:
    """Serve the pipes that this process was started with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    wanted = parser.parse_args()
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if wanted.threads:
        torch.set_num_threads(wanted.threads)

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, inbox), daemon=True).start()
    with suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            tokenizer = AutoTokenizer.from_pretrained(wanted.model)
            model = AutoModelForCausalLM.from_pretrained(wanted.model, dtype=wanted.dtype).to(wanted.device).eval()
        except Exception as e:
            send({"failed": " ".join(f"{type(e).__name__}: {e}".split())})
        else:
            send({"ready": {"max_model_len": getattr(model.config, "max_position_embeddings", None)}})
            serve(model, tokenizer, inbox, send)
    os._exit(1)  # the reader holds standard input, on which an orderly end would wait


if __name__ == "__main__":
    main()
