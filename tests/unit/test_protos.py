"""The protos keep what they promised, and follow the rules of `protos/`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from protos import baseline
from services.kit.bus import topics


def compiled(change: str = "") -> list[str]:
    """The promises of a small file, after a change."""
    file = descriptor_pb2.FileDescriptorProto(name="small.proto", package="small", syntax="proto3")
    image = file.message_type.add(name="Image")
    image.oneof_decl.add(name="content")
    string, int32 = (
        descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    )
    one, many = (
        descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    image.field.add(name="id", number=1, type=string, label=one)
    image.field.add(name="sizes", number=2, type=int32, label=many)
    image.field.add(name="uri", number=3, type=string, label=one, oneof_index=0)
    stage = file.enum_type.add(name="Stage")
    stage.value.add(name="STAGE_UNSPECIFIED", number=0)
    stage.value.add(name="STAGE_ONE", number=1)
    service = file.service.add(name="Images")
    service.method.add(name="Get", input_type=".small.Image", output_type=".small.Image")
    match change:
        case "field added":
            image.field.add(name="name", number=4, type=string, label=one)
        case "message, value and rpc added":
            file.message_type.add(name="Other")
            stage.value.add(name="STAGE_TWO", number=2)
            service.method.add(name="List", input_type=".small.Image", output_type=".small.Image")
        case "field removed":
            del image.field[1]
        case "field renamed":
            image.field[0].name = "image_id"
        case "field renumbered":
            image.field[0].number = 9
        case "type changed":
            image.field[0].type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
        case "label changed":
            image.field[1].label = one
        case "oneof left":
            image.field[2].ClearField("oneof_index")
            del image.oneof_decl[0]
        case "message removed":
            file.service[0].method[0].output_type = ".small.Copy"
            file.service[0].method[0].input_type = ".small.Copy"
            image.name = "Copy"
        case "value removed":
            del stage.value[1]
        case "value renumbered":
            stage.value[1].number = 5
        case "rpc removed":
            del service.method[0]
        case "rpc streams":
            service.method[0].server_streaming = True
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return baseline.promises([pool.FindFileByName("small.proto")])


@pytest.mark.parametrize("change", ["", "field added", "message, value and rpc added"])
def test_additions_break_nothing(change: str) -> None:
    assert baseline.broken(compiled(), compiled(change)) == []


@pytest.mark.parametrize(
    "change",
    [
        "field removed",
        "field renamed",
        "field renumbered",
        "type changed",
        "label changed",
        "oneof left",
        "message removed",
        "value removed",
        "value renumbered",
        "rpc removed",
        "rpc streams",
    ],
)
def test_every_kind_of_break_is_seen(change: str) -> None:
    assert baseline.broken(compiled(), compiled(change))


def test_the_protos_keep_their_promises() -> None:
    gone = baseline.broken(baseline.read(), baseline.promises(baseline.files()))
    assert not gone, "breaking change; if it is meant: python protos/baseline.py --update\n" + "\n".join(gone)


def declarations() -> Iterator[tuple[str, int, str, str]]:
    for source in sorted(baseline.SOURCES.glob("*.proto")):
        lines = source.read_text().splitlines()
        for number, line in enumerate(lines):
            yield source.name, number + 1, line, lines[number - 1] if number else ""


def test_every_declaration_is_commented() -> None:
    declared = re.compile(
        r"^\s*(message|enum|service|rpc|(repeated |map<.*> )?[\w.]+ \w+ = \d+;|[A-Z_0-9]+ = [1-9]\d*;)"
    )
    bare = [
        f"{name}:{number}: {line.strip()}"
        for name, number, line, before in declarations()
        if declared.match(line) and not before.strip().startswith("//")
    ]
    assert not bare, bare


def test_enums_start_unspecified() -> None:
    def enums(file: FileDescriptor) -> Iterator[tuple[str, str]]:
        for enum in file.enum_types_by_name.values():
            yield enum.full_name, enum.values_by_number[0].name

    for file in baseline.files():
        for name, first in enums(file):
            assert first.endswith("_UNSPECIFIED"), name


def test_the_package_is_the_path() -> None:
    for file in baseline.files():
        assert file.package == "tercet.v1"
        assert file.name == f"tercet/v1/{file.name.rpartition('/')[2]}"


def test_every_topic_has_a_record_of_its_own() -> None:
    records = [schema.DESCRIPTOR.full_name for schema in topics.SCHEMAS.values()]
    assert len(set(records)) == len(topics.TOPICS)
    assert all(name.startswith("tercet.v1.") for name in records)
