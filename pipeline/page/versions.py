"""Sections on images that are there more than once: what that gives away, what it contradicts, and the others."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from pipeline.competition.tables.conflicts import conflicting
from pipeline.page.blocks import Block, Gallery, Picture, Section, Text
from pipeline.page.facts import Facts
from pipeline.page.pictures import shown
from pipeline.paths import alike_path, run_dir

# Groups of versions of one image, and versions of each, that are shown.
_MOST_GROUPS = 8
_MOST_VERSIONS = 3

# A part and an id.
Member = tuple[str, str]


class Versions:
    """The groups of versions of one image, by their names, as the audit lists them."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.groups: dict[str, list[Member]] = {}
        for row in facts.audit:
            if row.get("duplicates"):
                self.groups.setdefault(row["duplicates"], []).append((row["split"], row["id"]))

    @cached_property
    def conflicts(self) -> dict[str, list[Member]]:
        """Of train images with different labels, those alone; none where most train images are such, whose versions
        are told apart by something faint.
        """
        train = self._facts.train
        if train is None:
            return {}
        name_of = {id_: name for name, own in self.groups.items() for split, id_ in own if split == "train"}
        labels = train.labels[train.labels.index.isin(name_of)]
        differ = labels.index[conflicting(labels, name_of, self._facts.cfg.data.tag_separator)]
        found: dict[str, list[Member]] = {}
        for id_ in differ:
            found.setdefault(name_of[id_], []).append(("train", id_))
        return found if 2 * len(differ) <= len(train) else {}

    @cached_property
    def leaks(self) -> dict[str, list[Member]]:
        """Of test images and train images, the test images first."""
        return {
            name: sorted(own, key=lambda member: member[0])
            for name, own in self.groups.items()
            if {split for split, _ in own} == {"train", "test"}
        }

    @cached_property
    def others(self) -> dict[str, list[Member]]:
        """Neither of these."""
        return {name: own for name, own in self.groups.items() if name not in self.conflicts and name not in self.leaks}


def leaks_section(facts: Facts) -> Section:
    """Train images that contradict each other, and test images whose label the train table gives away."""
    versions, blocks = Versions(facts), list[Block]()
    if versions.conflicts:
        count = sum(map(len, versions.conflicts.values()))
        blocks.append(
            Text(f"{count:,} train images, versions of {len(versions.conflicts):,}, have different labels.", True)
        )
        blocks += _gallery(facts, "Of one image, with different labels", versions.conflicts)
    if versions.leaks:
        count = sum(split == "test" for own in versions.leaks.values() for split, _ in own)
        blocks.append(Text(f"{count:,} test images are versions of train images, whose labels are known.", True))
        blocks += _gallery(facts, "Of one image, in the test part and in the train part", versions.leaks)
    if blocks:
        blocks.append(Text(_where(facts)))
    return Section("leaks", "Leaks and conflicts", blocks)


def versions_section(facts: Facts) -> Section:
    """Other versions of one image, and pairs that are alike to the probe's network, side by side, with the part that
    each is of.
    """
    versions, blocks = Versions(facts), list[Block]()
    if versions.others:
        blocks += _gallery(facts, "Versions of one image stand together", versions.others)
        blocks.append(Text(_where(facts)))
    nearest = facts.alike[:_MOST_GROUPS]
    pairs = [
        (row[f"{which}split"], row[which_id], f"cosine: {row['cosine']}")
        for row in nearest
        for which, which_id in (("", "id"), ("other_", "other"))
    ]
    if pictures := _of_parts(facts, pairs):
        caption = (
            f"Alike to the network, maybe of one thing, two by two: {len(nearest):,} of {len(facts.alike):,} in "
            f"{alike_path(facts.cfg)}"
        )
        blocks.append(Gallery(caption, pictures))
    return Section("versions", "Images that are there more than once", blocks)


def _where(facts: Facts) -> str:
    return (
        f"All are in {run_dir(facts.cfg) / 'audit.csv'}: versions of one image have one name in its column duplicates."
    )


def _gallery(facts: Facts, caption: str, groups: Mapping[str, Sequence[Member]]) -> list[Block]:
    """Some groups, one after the other; nothing where no image of them is here."""
    some = list(groups.values())[:_MOST_GROUPS]
    pictures = _of_parts(facts, [(*member, "") for own in some for member in _few(own)])
    return [Gallery(f"{caption}: {len(some):,} of {len(groups):,} groups", pictures)] if pictures else []


def _few(members: Sequence[Member]) -> list[Member]:
    """The first of some images, and where there are more the last, so that both parts, if both are there, are seen."""
    return [*members[: _MOST_VERSIONS - 1], members[-1]] if len(members) > _MOST_VERSIONS else list(members)


def _of_parts(facts: Facts, asked: Sequence[tuple[str, str, str]]) -> list[Picture]:
    """Pictures of images by split and id, those that are here, with a last line of their own, or "" for none."""
    pixels = {
        (split, id_): found
        for split in ("train", "test")
        for id_, found in facts.pixels_of(split, [id_ for part, id_, _ in asked if part == split]).items()
    }
    labels = facts.labels_of([id_ for split, id_ in pixels if split == "train"])
    return [
        shown(
            pixels[split, id_],
            f"{split} image {id_}",
            (
                id_,
                split,
                *([f"label: {labels[id_]}"] if split == "train" and id_ in labels else []),
                *([line] if line else []),
            ),
        )
        for split, id_, line in asked
        if (split, id_) in pixels
    ]
