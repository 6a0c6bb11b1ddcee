"""The reward model: two heads behind one interface.

`scalar` is the paper's: a stock sequence classifier with one label, read at the last token. `likelihood` adds the
scalar to the mean log-probability of the completion under the same, trainable model, so that the loss reaches every
token through the output layer; for small trunks it ranks much better. Less the log-probability under a frozen reference
it is the implicit reward of DPO (arXiv 2305.18290), with means over tokens where DPO has sums.
"""

from __future__ import annotations

import copy
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
# In the folder of a likelihood model; what lies beside its weights vLLM would take for more of them.
HEAD, REFERENCE = "head/head.safetensors", "reference"
LIKELIHOOD_SCALE = 10.0  # mean log-probabilities differ by tenths; Bradley-Terry wants differences of about one


class RewardModel(nn.Module):
    """Rewards of prompts with their completions."""

    def __init__(self, head: Head, model: Any, reference: Any = None) -> None:
        """`model` is a sequence classifier with one label for `scalar`, a causal model for `likelihood`.

        `reference`, another causal model, is never trained. Raises `ValueError` when a `scalar` head is given one.
        """
        super().__init__()
        if head == "scalar" and reference is not None:
            raise ValueError("a scalar head has no log-probability to take a reference from")
        self.head: Head = head
        self.trunk = model
        self.reference = None if reference is None else reference.eval().requires_grad_(False)
        if head == "likelihood":
            self.scale = nn.Parameter(torch.tensor([LIKELIHOOD_SCALE]))
            self.scalar = nn.Linear(model.config.hidden_size, 1, bias=False)
            nn.init.zeros_(self.scalar.weight)

    def forward(self, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor]:
        """Rewards, shape (B,), and the mean log-probability of each completion, of size 0 for a `scalar` head."""
        completions = trunk.forward(self.trunk.base_model, sequences)
        if self.head == "scalar":
            rewards: Tensor = trunk.in_float32(self.trunk.score, completions.last).squeeze(-1)
            return rewards, rewards.new_empty(0)
        mean = gain = _mean_log_probs(self.trunk, completions)
        if self.reference is not None:
            with torch.no_grad():
                before = trunk.forward(self.reference.base_model, sequences)
                expected = _mean_log_probs(self.reference, before)
            gain = mean - expected
        rewards = self.scale * gain + trunk.in_float32(self.scalar, completions.last).squeeze(-1)
        return rewards, mean

    def train(self, mode: bool = True) -> RewardModel:
        super().train(mode)
        if self.reference is not None:
            self.reference.eval()
        return self

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take up a published version. Tied weights travel once; anything else missing raises `ValueError`."""
        missing, unexpected = self.load_state_dict(dict(weights), strict=False)
        stored = {parameter.data_ptr() for name, parameter in self.named_parameters() if name in weights}
        own = dict(self.named_parameters(remove_duplicate=False))
        lost = [name for name in missing if name not in own or own[name].data_ptr() not in stored]
        if lost or unexpected:
            raise ValueError(f"reward weights do not fit: missing {lost}, unexpected {unexpected}")

    def initialise_trunk(self, policy: Mapping[str, Tensor]) -> None:
        """Copy the weights of a causal model of the same architecture into the trunk, and into the reference."""
        _, unexpected = self.trunk.load_state_dict(dict(policy), strict=False)
        if self.reference is not None:
            self.reference.load_state_dict(dict(policy), strict=False)
        if lost := [name for name in unexpected if not name.startswith("lm_head.")]:
            raise ValueError(f"policy weights do not fit the reward model's trunk: {lost}")

    def save(self, folder: Path, tokenizer: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write a transformers folder that others can load, with `reward.json` (and what belongs to the head) in it.

        `weights` are those of a plain model, where this one's have other names or lie elsewhere.
        """
        own = self.state_dict() if weights is None else weights
        self.trunk.save_pretrained(folder, state_dict=_inside("trunk.", own))
        tokenizer.save_pretrained(folder)
        if self.head == "likelihood":
            (folder / HEAD).parent.mkdir(exist_ok=True)
            save_file({"scale": own["scale"], "scalar": own["scalar.weight"]}, folder / HEAD)
        if self.reference is not None:
            self.reference.save_pretrained(folder / REFERENCE, state_dict=_inside("reference.", own))
            tokenizer.save_pretrained(folder / REFERENCE)
        description = {"head": self.head, "reference": self.reference is not None}
        (folder / "reward.json").write_text(json.dumps(description) + "\n")


def create(
    head: Head, folder: str, device: torch.device | str = "cpu", reference: bool = False
) -> tuple[RewardModel, Any]:
    """An untrained reward model on the weights of a causal model folder, and its tokenizer.

    With a `reference` it is rewarded what becomes likelier than it was under these weights.
    """
    model, tokenizer = _trunk(head, folder)
    return RewardModel(head, model, copy.deepcopy(model) if reference else None).to(device), tokenizer


def load(folder: str, device: torch.device | str = "cpu") -> tuple[RewardModel, Any]:
    """A saved reward model and its tokenizer. Raises `ValueError` when `folder` does not hold one.

    A stock sequence classifier without `reward.json` is taken as a `scalar` reward model.
    """
    marker = Path(folder) / "reward.json"
    try:
        description: dict[str, Any] = json.loads(marker.read_text()) if marker.exists() else {"head": "scalar"}
        head, has_reference = description["head"], description.get("reference", False)
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{marker}: expected {{'head': 'scalar' or 'likelihood'}} ({error})") from error
    trunk_model, tokenizer = _trunk(head, folder)
    reference = _trunk(head, str(Path(folder) / REFERENCE))[0] if has_reference else None
    model = RewardModel(head, trunk_model, reference)
    if head == "likelihood":
        tensors = load_file(Path(folder) / HEAD)
        with torch.no_grad():
            model.scale.copy_(tensors["scale"])
            model.scalar.weight.copy_(tensors["scalar"])
    return model.to(device).eval(), tokenizer


def _trunk(head: Head, folder: str) -> tuple[Any, Any]:
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
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(_not_at_the_end(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _not_at_the_end(tokenizer: Any) -> int:
    """A token that no sequence ends with. Stock classifiers take padding off by its id, and a last token like it."""
    others = [token for token in (*tokenizer.all_special_ids, 0, 1) if token != tokenizer.eos_token_id]
    return int(others[0])


def _mean_log_probs(model: Any, completions: trunk.Completions) -> Tensor:
    return completions.log_probs(model.get_output_embeddings()).sum(dim=1) / completions.mask.sum(dim=1)


def _inside(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
