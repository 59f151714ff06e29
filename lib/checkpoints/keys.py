"""Renaming keys: a two-way table between a release's names and ours, and a total conversion.

A rule is a pair of prefixes in which * stands for a number:

    "pretrained.blocks.*.attn.qkv."  ->  "imgencoder.blocks.*.attention.qkv."

Where a release stores in three tensors what is one here, the rules say which part each is, and `convert` joins them:

    "...attention.query."  ->  "...attention.qkv.~0."
    "...attention.key."    ->  "...attention.qkv.~1."
    "...attention.value."  ->  "...attention.qkv.~2."
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

NUM_PARTS = 3  # query, key, value
QUERY_BIAS, KEY_BIAS = ".~0.bias", ".~1.bias"
PART = re.compile(r"\.~(\d+)(?=\.)")
NUMBER = re.compile(r"\d+")


class KeyMap:
    """The rules of one layout. `unused` are full keys (again with *) that releases carry and never use.

    optional: full keys that have a rule, and are unused where the model's config leaves no place for them.
    zero_key_bias: the layout has biases on queries and values alone (BEiT, SwinV2). Our one layer for all three then gets
    zeros as the biases of the keys, which changes nothing. zero_key_bias_under: only for our keys that begin like this.
    """

    def __init__(
        self,
        rules: Mapping[str, str],
        unused: Sequence[str] = (),
        *,
        optional: Sequence[str] = (),
        zero_key_bias: bool = False,
        zero_key_bias_under: str = "",
    ):
        self._optional = frozenset(optional)
        self._zero_key_bias = zero_key_bias
        self._zero_key_bias_under = zero_key_bias_under
        self._forward = [(_pattern(source), _template(target)) for source, target in rules.items()]
        self._backward = [(_pattern(target), _template(source)) for source, target in rules.items()]
        self._unused = [re.compile(_pattern(key).pattern.removesuffix("(.*)")) for key in unused]

    def convert(self, key: str, tensor: Tensor) -> list[tuple[str, Tensor]] | None:
        """What one tensor of the release becomes here: pairs of key and tensor, [] if unused, None if unknown."""
        if any(pattern.fullmatch(key) for pattern in self._unused):
            return []
        target = _rename(key, self._forward)
        if target is None:
            return None
        if self._lacks_key_bias(target) and target.endswith(QUERY_BIAS):
            return [(target, tensor), (target.removesuffix(QUERY_BIAS) + KEY_BIAS, torch.zeros_like(tensor))]
        return [(target, tensor)]

    def _lacks_key_bias(self, target: str) -> bool:
        return self._zero_key_bias and target.startswith(self._zero_key_bias_under)

    def may_be_dropped(self, key: str) -> bool:
        """Whether a key that has a rule may be left out, because the model has no place for it."""
        return key in self._optional

    def source_keys(self, target: str) -> list[str]:
        """What the release may call one of our keys, or one part of it (for error messages)."""
        if self._lacks_key_bias(target) and target.endswith(KEY_BIAS):
            target = target.removesuffix(KEY_BIAS) + QUERY_BIAS  # made along with it
        names = (_rename(target, [rule]) for rule in self._backward)
        return [name for name in names if name is not None and not PART.search(name)]


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
    names = _SourceNames(keys, tensors)
    pieces, unknown = {}, []  # pieces: whole tensors and parts of tensors, under our names
    for key in list(tensors):
        renamed = keys.convert(key, tensors.pop(key))
        if keys.may_be_dropped(key) and renamed[0][0] not in expected:
            continue
        if renamed is None or any(name in pieces or PART.sub("", name) not in expected for name, _ in renamed):
            unknown.append(key)  # no rule for it, no place in the model, or its place is taken
            continue
        for name, tensor in renamed:
            pieces[name] = tensor
            names.origin[name] = key

    fitting, missing, misfits = {}, [], []
    for target, wanted in expected.items():
        parts = names.parts_of(target)
        shape = list(wanted.shape)
        if len(parts) > 1:
            shape[0] //= len(parts)
        fits = []
        for name in parts:
            tensor = pieces.pop(name, None)
            if tensor is None:
                missing.append(names.of(name))
            elif list(tensor.shape) != shape:
                have = list(tensor.shape)
                misfits.append(f"{names.of(name)} has shape {have}, but the rest of the file asks for {shape}")
            elif tensor.is_floating_point() != wanted.is_floating_point():
                misfits.append(f"{names.of(name)} holds numbers of type {tensor.dtype}, expected {wanted.dtype}")
            else:
                fits.append(tensor)
        if len(fits) == len(parts):
            fitting[target] = torch.cat(fits) if len(parts) > 1 else fits[0]
    unknown += [names.of(name) for name in pieces]
    complaints = [f"unexpected {_listing(unknown)}"] if unknown else []
    missing = list(dict.fromkeys(missing))  # one key may stand for two parts
    complaints += [f"missing {_listing(missing)}"] if missing else []
    return fitting, complaints + misfits


class _SourceNames:
    """The release's names of our keys: where the file has the key, its name there; else what the file would call it."""

    def __init__(self, keys: KeyMap, source_keys: Iterable[str]):
        self.origin: dict[str, str] = {}  # filled while the keys are renamed
        self._keys = keys
        source_keys = list(source_keys)
        self._families = {NUMBER.sub("*", key) for key in source_keys}
        self._layers = {_layer(key) for key in source_keys}

    def of(self, target: str) -> str:
        """Where rules offer several names (mlp.fc1 or mlp.w12): of a layer in the file, or whose like is in other blocks."""
        candidates = self._keys.source_keys(target)
        here = [name for name in candidates if _layer(name) in self._layers]
        alike = [name for name in candidates if NUMBER.sub("*", name) in self._families]
        return self.origin.get(target) or (here + alike + candidates + [target])[0]

    def parts_of(self, target: str) -> list[str]:
        """[target], or its three parts in a layout that stores those."""
        head, _, leaf = target.rpartition(".")
        parts = [f"{head}.~{number}.{leaf}" for number in range(NUM_PARTS)]
        return parts if all(self._keys.source_keys(part) for part in parts) else [target]


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _listing(names: Sequence[str]) -> str:
    """'key a' or 'keys a, b, c and 4 more'."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{'keys' if len(names) > 1 else 'key'} {shown}"
