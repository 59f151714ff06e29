"""Renaming keys: a two-way table between a release's names and ours, and a total conversion.

A rule is a pair of prefixes in which * stands for a number:

    "pretrained.blocks.*.attn.qkv."  ->  "imgencoder.blocks.*.attention.qkv."

Where a release stores in three tensors what is one here, the rules say which part each is, and `convert` joins them:

    "...attention.query."  ->  "...attention.qkv.~0."
    "...attention.key."    ->  "...attention.qkv.~1."
    "...attention.value."  ->  "...attention.qkv.~2."
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import CheckpointError

NUM_PARTS = 3  # query, key, value
PART = re.compile(r"\.~(\d+)(?=\.)")


class KeyMap:
    """The rules of one layout. `unused` are full keys (again with *) that releases carry and never use."""

    def __init__(self, rules: Mapping[str, str], unused: Sequence[str] = ()):
        self._forward = [(_pattern(source), _template(target)) for source, target in rules.items()]
        self._backward = [(_pattern(target), _template(source)) for source, target in rules.items()]
        self._unused = [re.compile(_pattern(key).pattern.removesuffix("(.*)")) for key in unused]

    def convert(self, key: str, tensor: Tensor) -> list[tuple[str, Tensor]] | None:
        """What one tensor of the release becomes here: pairs of key and tensor, [] if unused, None if unknown."""
        if any(pattern.fullmatch(key) for pattern in self._unused):
            return []
        target = _rename(key, self._forward)
        return None if target is None else [(target, tensor)]

    def source_key(self, target: str) -> str:
        """The release's name of one of our keys (for error messages)."""
        return _rename(target, self._backward) or _rename(PART.sub("", target), self._backward) or target


def _pattern(prefix: str) -> re.Pattern:
    return re.compile(re.escape(prefix).replace(r"\*", r"(\d+)") + "(.*)")


def _template(prefix: str) -> str:
    numbers = iter(range(1, 10))
    text = re.sub(r"\*", lambda _: f"\\g<{next(numbers)}>", prefix)
    return text + f"\\g<{next(numbers)}>"


def _rename(key: str, rules: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, template in rules:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(template)
    return None


def convert_tensors(
    tensors: dict[str, Tensor], keys: KeyMap, expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Every tensor of a checkpoint under our names, as far as it fits the model, and what did not fit.

    expected: the model's own state dict. Returns the fitting tensors and a list of complaints in the release's own key names
    ("missing key ...", "unexpected keys ...", "... has shape ..."), empty when keys and shapes are exactly the model's.
    Empties `tensors` on the way, so that nothing is held twice.
    """
    converted, parts, unknown, missing, complaints = {}, {}, [], [], []
    for key in list(tensors):
        pieces = keys.convert(key, tensors.pop(key))
        if pieces is None:
            unknown.append(key)
            continue
        for target, tensor in pieces:
            part = PART.search(target)
            if part:
                parts.setdefault(PART.sub("", target), {})[int(part.group(1))] = tensor
            else:
                converted[target] = tensor
    for target in list(parts):
        numbered = parts.pop(target)
        if len(numbered) == NUM_PARTS:
            converted[target] = torch.cat([numbered[number] for number in range(NUM_PARTS)])
        else:
            head, _, leaf = target.rpartition(".")
            missing += [
                keys.source_key(f"{head}.~{number}.{leaf}") for number in range(NUM_PARTS) if number not in numbered
            ]

    unknown += [keys.source_key(key) for key in converted if key not in expected]
    missing += [keys.source_key(key) for key in expected if key not in converted]
    fitting = {}
    for key in [key for key in expected if key in converted]:
        if converted[key].shape == expected[key].shape:
            fitting[key] = converted[key]
        else:
            have, want = list(converted[key].shape), list(expected[key].shape)
            complaints.append(f"{keys.source_key(key)} has shape {have}, but the rest of the file asks for {want}")
    if missing:
        complaints.insert(0, f"missing {_listing(missing)}")
    if unknown:
        complaints.insert(0, f"unexpected {_listing(unknown)}")
    return fitting, complaints


def shape_of(tensors: Mapping[str, Tensor], key: str, num_dims: int, *, source: str) -> tuple[int, ...]:
    """The shape of a tensor that the layout cannot do without; CheckpointError if it is missing or not as deep."""
    if key not in tensors:
        raise CheckpointError(f"{source}: missing {key}")
    shape = tuple(tensors[key].shape)
    if len(shape) != num_dims:
        raise CheckpointError(f"{source}: {key} has shape {list(shape)}, expected {num_dims} dimensions")
    return shape


def count_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered blocks follow a prefix: one more than the largest number."""
    numbers = [int(key[len(prefix) :].split(".")[0]) for key in tensors if re.match(re.escape(prefix) + r"\d+\.", key)]
    return max(numbers, default=-1) + 1


def _listing(names: Sequence[str]) -> str:
    """'key a' or 'keys a, b, c and 4 more'."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{'keys' if len(names) > 1 else 'key'} {shown}"
