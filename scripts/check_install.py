"""Imports what a run needs, so that a broken-off installation shows here and not in the middle of a run.

It also lets vLLM look at the model classes once: it does so in a process of its own and remembers the answer, which
would cost the first run a dozen seconds.
"""

import importlib
import os

from roles.sampling.settings import ENGINE_ENV

PACKAGES = ("pyarrow", "ray", "transformers", "deepspeed", "peft", "typer", "rich", "tensorboardX", "vllm")

if __name__ == "__main__":
    os.environ.update(ENGINE_ENV)
    for package in PACKAGES:
        importlib.import_module(package)

    from vllm.model_executor.models.registry import ModelRegistry

    for architecture in ("LlamaForCausalLM", "Qwen2ForCausalLM"):
        ModelRegistry.models[architecture].inspect_model_cls()
    print(f"{len(PACKAGES)} packages imported")
