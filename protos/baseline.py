"""What clients and stored records rely on in the protos, one line for each promise, and whether it was kept.

`python protos/baseline.py` says what is broken against `baseline.txt`; with `--update` it writes the file
anew, as every release does. What is new is no break. A line that goes or changes breaks old clients or the
records already in the log, so the commit that updates the file for it says why.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

BASELINE = Path(__file__).with_name("baseline.txt")
SOURCES = Path(__file__).parent / "tercet" / "v1"

_TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def files() -> list[FileDescriptor]:
    """The compiled protos of `tercet.v1`, all of them."""
    return [
        importlib.import_module(f"tercet.v1.{source.stem}_pb2").DESCRIPTOR
        for source in sorted(SOURCES.glob("*.proto"))
    ]


def promises(descriptors: Iterable[FileDescriptor]) -> list[str]:
    """Every message, field, enum value and RPC as a line, sorted."""
    lines: list[str] = []
    for file in descriptors:
        for message in file.message_types_by_name.values():
            lines += _message(message)
        for enum in file.enum_types_by_name.values():
            lines += _enum(enum)
        for service in file.services_by_name.values():
            for method in service.methods:
                asked = f"{'stream ' * method.client_streaming}{method.input_type.full_name}"
                answered = f"{'stream ' * method.server_streaming}{method.output_type.full_name}"
                lines.append(f"rpc {service.full_name}/{method.name} ({asked}) returns ({answered})")
    return sorted(lines)


def broken(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """The promises that are no longer kept."""
    return sorted(set(before) - set(now))


def _message(message: Descriptor) -> Iterator[str]:
    yield f"message {message.full_name}"
    for field in message.fields:
        yield f"field {message.full_name} {field.number} {field.name} {_type(field)}{_presence(field)}"
    for nested in message.nested_types:
        yield from _message(nested)
    for enum in message.enum_types:
        yield from _enum(enum)


def _type(field: FieldDescriptor) -> str:
    many = "repeated " if field.is_repeated else ""
    if field.message_type is not None:
        return many + str(field.message_type.full_name)
    if field.enum_type is not None:
        return many + str(field.enum_type.full_name)
    return many + _TYPES[field.type]


def _presence(field: FieldDescriptor) -> str:
    return f" of oneof {field.containing_oneof.name}" if field.containing_oneof is not None else ""


def _enum(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"enum {enum.full_name} {value.number} {value.name}"


def read() -> list[str]:
    """The promises of the committed baseline."""
    return BASELINE.read_text().splitlines()


def main() -> int:
    """The exit code: 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    now = promises(files())
    if parser.parse_args().update:
        BASELINE.write_text("\n".join(now) + "\n")
        return 0
    gone = broken(read(), now)
    for line in gone:
        print(f"broken: {line}", file=sys.stderr)
    return 1 if gone else 0


if __name__ == "__main__":
    sys.exit(main())
