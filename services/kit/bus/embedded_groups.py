"""Consumer groups within one process: who owns which partition, and what was delivered to whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Partition = tuple[str, int]
"""Topic and partition number."""


class Member:
    """One member of a group: its partitions, and on each the span that was delivered and is not committed."""

    def __init__(self, group: str, topics: Sequence[str]) -> None:
        self.group = group
        self.topics = tuple(dict.fromkeys(topics))
        self.paused = False
        self._owned: list[Partition] = []
        self._spans: dict[Partition, tuple[int, int]] = {}
        self._turn = 0

    def assign(self, partitions: Sequence[Partition]) -> None:
        """From now on own exactly these; what was delivered of others can no longer be committed."""
        self._owned = list(partitions)
        self._spans = {partition: span for partition, span in self._spans.items() if partition in partitions}

    def turn(self) -> Iterator[Partition]:
        """The partitions owned, each time starting with the next one."""
        self._turn += 1
        for index in range(len(self._owned)):
            yield self._owned[(self._turn + index) % len(self._owned)]

    def position(self, partition: Partition) -> int | None:
        """Offset to be delivered next; None while it is not known."""
        span = self._spans.get(partition)
        return None if span is None else span[1]

    def start(self, partition: Partition, offset: int) -> None:
        """Deliver from the offset on."""
        self._spans[partition] = (offset, offset)

    def delivered(self, partition: Partition, offset: int) -> None:
        """The record went to the member."""
        self._spans[partition] = (self._spans[partition][0], offset + 1)

    def holds(self, partition: Partition, offset: int) -> bool:
        """Whether the record was delivered, is not committed, and its partition did not leave since."""
        first, end = self._spans.get(partition, (0, 0))
        return first <= offset < end

    def committed(self, ends: Mapping[Partition, int]) -> None:
        """Everything before the ends is committed."""
        for partition, end in ends.items():
            self._spans[partition] = (end, max(end, self._spans[partition][1]))

    def rewind(self) -> None:
        """Deliver again what is not committed."""
        self._spans = {partition: (first, first) for partition, (first, _) in self._spans.items()}


class Groups:
    """All groups. Partitions are dealt out anew whenever a member comes or goes."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._groups: dict[str, list[Member]] = {}

    def join(self, group: str, topics: Sequence[str]) -> Member:
        """A new member."""
        member = Member(group, topics)
        self._groups.setdefault(group, []).append(member)
        self._deal(group)
        return member

    def leave(self, member: Member) -> None:
        """The member's partitions go to the others. Leaving twice is leaving once."""
        members = self._groups.get(member.group, [])
        if member in members:
            members.remove(member)
            member.assign([])
            self._deal(member.group)

    def names(self) -> set[str]:
        """Groups that have had a member."""
        return set(self._groups)

    def topics(self, group: str) -> set[str]:
        """Topics of the group's members."""
        return {topic for member in self._groups.get(group, []) for topic in member.topics}

    def members(self, group: str) -> int:
        """Members of the group now."""
        return len(self._groups.get(group, []))

    def _deal(self, group: str) -> None:
        members = self._groups[group]
        dealt: dict[Member, list[Partition]] = {member: [] for member in members}
        for topic in sorted(self.topics(group)):
            readers = [member for member in members if topic in member.topics]
            for partition in range(self._partitions):
                dealt[readers[partition % len(readers)]].append((topic, partition))
        for member, partitions in dealt.items():
            member.assign(partitions)
