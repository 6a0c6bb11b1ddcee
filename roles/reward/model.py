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
from torch.nn import functional

from roles.sequences import TokenSequence, rectangle

Head = Literal["scalar", "likelihood"]
LIKELIHOOD_SCALE = 10.0  # mean log-probabilities differ by tenths; Bradley-Terry wants differences of about one


class RewardModel(nn.Module):
    """Rewards of prompts with their completions."""

    def __init__(self, head: Head, trunk: Any) -> None:
        """`trunk` is a sequence classifier with one label for `scalar`, a causal model for `likelihood`."""
        super().__init__()
        self.head: Head = head
        self.trunk = trunk
        if head == "likelihood":
            self.scale = nn.Parameter(torch.tensor(LIKELIHOOD_SCALE))
            self.scalar = nn.Linear(trunk.config.hidden_size, 1, bias=False)
            nn.init.zeros_(self.scalar.weight)

    def forward(self, sequences: Sequence[TokenSequence], pad_id: int) -> Tensor:
        """Rewards, shape (B,). A prompt that several sequences share is computed once; padding has no influence."""
        device = next(self.parameters()).device
        prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
        place = {prompt: row for row, prompt in enumerate(prompts)}
        rows = torch.tensor([place[sequence.prompt] for sequence in sequences], device=device)
        prompt_ids, prompt_mask = rectangle(prompts, pad_id, device, left=True)
        ids, mask = rectangle([sequence.completion for sequence in sequences], pad_id, device)
        lengths = prompt_mask.sum(dim=1)
        beginning = self.trunk.base_model(
            input_ids=prompt_ids,
            attention_mask=prompt_mask,
            position_ids=(prompt_mask.long().cumsum(dim=1) - 1).clamp(min=0),
            use_cache=True,
        )
        cache = beginning.past_key_values
        cache.batch_select_indices(rows)
        rest = self.trunk.base_model(
            input_ids=ids,
            attention_mask=torch.cat([prompt_mask[rows], mask], dim=1),
            position_ids=lengths[rows, None] + torch.arange(ids.shape[1], device=device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        before = torch.cat([beginning.last_hidden_state[:, -1:][rows], rest[:, :-1]], dim=1)
        last = rest[torch.arange(len(rows), device=device), mask.sum(dim=1) - 1]
        return self._rewards(before, ids, mask, last)

    def _rewards(self, before: Tensor, ids: Tensor, mask: Tensor, last: Tensor) -> Tensor:
        """Rewards, shape (B,), from the trunk's hidden states.

        Args:
            before: (B, T, H) state from which each completion token is predicted.
            ids, mask: (B, T) completion tokens, and which of them are no padding.
            last: (B, H) state at the last token.
        """
        if self.head == "scalar":
            rewards: Tensor = self.trunk.score(last).squeeze(-1).float()
            return rewards
        logits = self.trunk.get_output_embeddings()(before[mask])
        log_probs = torch.zeros(ids.shape, device=ids.device)
        log_probs[mask] = -functional.cross_entropy(logits.float(), ids[mask], reduction="none")
        rewards = self.scale * log_probs.sum(dim=1) / mask.sum(dim=1) + self.scalar(last.float()).squeeze(-1)
        return rewards

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

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write a transformers folder that others can load, with `reward.json` (and the head's tensors) beside it."""
        self.trunk.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if self.head == "likelihood":
            tensors = {"scale": self.scale.detach(), "scalar": self.scalar.weight.detach()}
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
        trunk = classes[head].from_pretrained(folder, dtype=torch.float32, **labels)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder!r} is not a readable reward model folder: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    trunk.config.pad_token_id = tokenizer.pad_token_id
    return RewardModel(head, trunk).to(device), tokenizer
