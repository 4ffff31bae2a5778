"""The model that judges what the tutor said, as pipecat's harness wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from pipecat.services.openai.llm import OpenAILLMService


def judge(config: Mapping[str, Any]) -> OpenAILLMService:
    """The judge (or a simulated learner) at ``url``; ``key`` and ``model`` may be left out.

    Raises:
        ValueError: the server lists no model, and none is named.
        httpx.HTTPError: no server is there.
    """
    url = str(config["url"]).rstrip("/").removesuffix("/v1") + "/v1"
    key = str(config.get("key") or "none")
    model = config.get("model") or _first(url, key)
    wanted = OpenAILLMService.Settings(model=model, temperature=0.0, extra=dict(config.get("extra") or {}))
    return OpenAILLMService(base_url=url, api_key=key, settings=wanted)


def _first(url: str, key: str) -> str:
    response = httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}, timeout=5, trust_env=False)
    response.raise_for_status()
    models = [str(m["id"]) for m in response.json()["data"]]
    if not models:
        raise ValueError(f"{url} lists no model")
    return models[0]
