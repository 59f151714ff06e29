"""What an ONNX file of ours says about itself, and how to read it without reading the weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from ..dpt_model import OutputKind
from ..errors import UserError
from ..image_processor import PictureRule

KEY = "plain_dpt"  # holds everything, as JSON; the other keys repeat parts of it for people and other programs
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class OnnxFacts:
    """name, weights: the model, and the file that it was made from. summary: one line on it.

    output, picture: what the numbers mean and how pictures are prepared, as sections of a model's config.
    multiple: sides of the network's input are multiples of this. fixed_hw: the only input size, or None.
    takes_pictures: the graph itself prepares pictures (B x H0 x W0 x 3, BGR, uint8) and brings the map back to their size.
    max_side_length, use_square_sizing: what it then prepares with, see `prepare_image_bgr`. precision: of PRECISIONS.
    """

    name: str
    weights: str
    summary: str
    output: dict
    picture: dict
    multiple: int | None
    fixed_hw: tuple[int, int] | None = None
    takes_pictures: bool = False
    max_side_length: int | None = None
    use_square_sizing: bool = False
    precision: str = "float32"

    @property
    def output_kind(self) -> OutputKind:
        low, high = self.output["value_range"]
        high = float("inf") if high is None else float(high)
        return OutputKind(str(self.output["quantity"]), bool(self.output["nearest_is_largest"]), (float(low), high))

    @property
    def rule(self) -> PictureRule:
        return PictureRule(**self.picture)

    def as_metadata(self) -> dict[str, str]:
        """Keys and values for the file's metadata."""
        low, high = self.output["value_range"]
        prepared = f"RGB between 0 and 1, minus {self.picture['mean']}, over {self.picture['std']}"
        return {
            KEY: json.dumps(asdict(self)),
            "model": self.name,
            "summary": self.summary,
            "input": "B x H x W x 3 BGR, uint8" if self.takes_pictures else f"B x 3 x H x W: {prepared}",
            "quantity": self.output["quantity"],
            "nearest_is_largest": json.dumps(self.output["nearest_is_largest"]),
            "value_range": f"{low:g} to {'infinity' if high is None else format(high, 'g')}",
            "precision": self.precision,
        }


def read_facts(path: Path) -> OnnxFacts:
    """What the file says about itself. Raises UserError for files that are not ours, not ONNX, or damaged."""
    try:
        with open(path, "rb") as file:
            text = dict(_metadata(file)).get(KEY)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this is no ONNX file, or it is damaged ({error})") from error
    if text is None:
        raise UserError(
            f"{path}: this ONNX file does not say what it predicts and how pictures are prepared for it; "
            "expected one that experiments/export_onnx.py wrote"
        )
    try:
        facts = OnnxFacts(**json.loads(text))
        _ = facts.output_kind, facts.rule
        if facts.precision not in PRECISIONS or not isinstance(facts.name + facts.weights + facts.summary, str):
            raise ValueError("unknown precision")
        if facts.fixed_hw is not None:
            height, width = facts.fixed_hw
            facts = OnnxFacts(**asdict(facts) | {"fixed_hw": (int(height), int(width))})
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{path}: what the file says about itself is damaged ({type(error).__name__}: {error})") from error
    return facts


# An ONNX file is a protocol buffer: fields, each of which has a number and tells its length. The metadata are field 14 of the
# whole, one for each key, with the key as field 1 and the value as field 2 inside; the network, field 7, is jumped over.
METADATA_FIELD, KEY_FIELD, VALUE_FIELD = 14, 1, 2
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5


def _metadata(file: BinaryIO) -> list[tuple[str, str]]:
    """The metadata's keys and values; ValueError where the file is no protocol buffer."""
    end = file.seek(0, 2)
    file.seek(0)
    found = []
    for number, length in _fields(file, end):
        if number == METADATA_FIELD:
            entry = {}
            start = file.tell()
            for part, part_length in _fields(file, start + length):
                entry[part] = file.read(part_length).decode()
            found.append((entry.get(KEY_FIELD, ""), entry.get(VALUE_FIELD, "")))
        else:
            file.seek(length, 1)
    return found


def _fields(file: BinaryIO, end: int):
    """(number, length) of every field up to `end`, with the file at the field's first byte. The caller goes on behind it."""
    while file.tell() < end:
        number, kind = divmod(_varint(file), 8)
        if kind == VARINT:
            start = file.tell()
            _varint(file)
            length = file.tell() - start
            file.seek(start)
        elif kind == LENGTH:
            length = _varint(file)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if file.tell() + length > end:
            raise ValueError("it ends too early")
        yield number, length
    if file.tell() != end:
        raise ValueError("a field reaches beyond the end")


def _varint(file: BinaryIO) -> int:
    """A whole number in seven bits a byte, the lowest first; the eighth bit says that another byte follows."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends too early")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number without an end")
