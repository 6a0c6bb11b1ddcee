"""The reward model: two heads behind one interface.

`scalar` is the paper's: a stock sequence classifier with one label, read at the last token. `likelihood` adds the
scalar to the mean log-probability of the completion under the same, trainable model, so that the loss reaches every
token through the output layer; for small trunks it ranks much better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from roles import trunk
from roles.sequences import TokenSequence

Head = Literal["scalar", "likelihood"]
LIKELIHOOD_SCALE = 10.0  # mean log-probabilities differ by tenths; Bradley-Terry wants differences of about one


class RewardModel(nn.Module):
    """Rewards of prompts with their completions."""

    def __init__(self, head: Head, model: Any) -> None:
        """`model` is a sequence classifier with one label for `scalar`, a causal model for `likelihood`."""
        super().__init__()
        self.head: Head = head
        self.trunk = model
        if head == "likelihood":
            self.scale = nn.Parameter(torch.tensor([LIKELIHOOD_SCALE]))
            self.scalar = nn.Linear(model.config.hidden_size, 1, bias=False)
            nn.init.zeros_(self.scalar.weight)

    def forward(self, sequences: Sequence[TokenSequence], pad_id: int) -> tuple[Tensor, Tensor]:
        """Rewards, shape (B,), and the mean log-probability of each completion, of size 0 for a `scalar` head."""
        completions = trunk.forward(self.trunk.base_model, sequences, pad_id)
        if self.head == "scalar":
            rewards: Tensor = trunk.in_float32(self.trunk.score, completions.last).squeeze(-1)
            return rewards, rewards.new_empty(0)
        log_probs = completions.log_probs(self.trunk.get_output_embeddings())
        mean = log_probs.sum(dim=1) / completions.mask.sum(dim=1)
        rewards = self.scale * mean + trunk.in_float32(self.scalar, completions.last).squeeze(-1)
        return rewards, mean

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take up a published version. Tied weights travel once; anything else missing raises `ValueError`."""
        missing, unexpected = self.load_state_dict(dict(weights), strict=False)
        stored = {parameter.data_ptr() for name, parameter in self.named_parameters() if name in weights}
        own = dict(self.named_parameters(remove_duplicate=False))
        lost = [name for name in missing if name not in own or own[name].data_ptr() not in stored]
        if lost or unexpected:
            raise ValueError(f"reward weights do not fit: missing {lost}, unexpected {unexpected}")

    def initialise_trunk(self, policy: Mapping[str, Tensor]) -> None:
        """Copy the weights of a causal model of the same architecture into the trunk."""
        _, unexpected = self.trunk.load_state_dict(dict(policy), strict=False)
        if lost := [name for name in unexpected if not name.startswith("lm_head.")]:
            raise ValueError(f"policy weights do not fit the reward model's trunk: {lost}")

    def save(self, folder: Path, tokenizer: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write a transformers folder that others can load, with `reward.json` (and the head's tensors) beside it.

        `weights` are those of a plain model, where this one's have other names or lie elsewhere.
        """
        own = self.state_dict() if weights is None else weights
        inner = {name.removeprefix("trunk."): own[name] for name in own if name.startswith("trunk.")}
        self.trunk.save_pretrained(folder, state_dict=inner)
        tokenizer.save_pretrained(folder)
        if self.head == "likelihood":
            tensors = {"scale": own["scale"], "scalar": own["scalar.weight"]}
            save_file(tensors, folder / "head.safetensors")
        (folder / "reward.json").write_text(json.dumps({"head": self.head}) + "\n")


def create(head: Head, folder: str, device: torch.device | str = "cpu") -> tuple[RewardModel, Any]:
    """An untrained reward model on the weights of a causal model folder, and its tokenizer."""
    return _load(head, folder, device)


def load(folder: str, device: torch.device | str = "cpu") -> tuple[RewardModel, Any]:
    """A saved reward model and its tokenizer. Raises `ValueError` when `folder` does not hold one.

    A stock sequence classifier without `reward.json` is taken as a `scalar` reward model.
    """
    head: Head
    marker = Path(folder) / "reward.json"
    try:
        head = json.loads(marker.read_text())["head"] if marker.exists() else "scalar"
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{marker}: expected {{'head': 'scalar' or 'likelihood'}} ({error})") from error
    model, tokenizer = _load(head, folder, device)
    if head == "likelihood":
        tensors = load_file(Path(folder) / "head.safetensors")
        with torch.no_grad():
            model.scale.copy_(tensors["scale"])
            model.scalar.weight.copy_(tensors["scalar"])
    return model.eval(), tokenizer


def _load(head: Head, folder: str, device: torch.device | str) -> tuple[RewardModel, Any]:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    classes = {"scalar": AutoModelForSequenceClassification, "likelihood": AutoModelForCausalLM}
    if head not in classes:
        raise ValueError(f"reward head {head!r}: allowed are {', '.join(classes)}")
    labels = {"num_labels": 1} if head == "scalar" else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = classes[head].from_pretrained(folder, dtype=torch.float32, **labels)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder!r} is not a readable reward model folder: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardModel(head, model).to(device), tokenizer
