"""A diff that prints as text, and that a notebook displays as tables."""

from __future__ import annotations

from dataclasses import dataclass

from kept.store.diff.result import Diff
from kept.store.diff.wording import RIGHT, sections, summary, text_of


@dataclass(frozen=True, repr=False)
class ShownDiff(Diff):
    """What Version.diff returns."""

    def __repr__(self) -> str:
        return f"<kept.Diff {self.before} → {self.after}>"

    def __str__(self) -> str:
        return text_of(self)

    def _repr_html_(self) -> str:
        from kept.charts.markup import Display, heading, note, table

        display = Display(f"{self.before} → {self.after}")
        with display as parts:
            parts += [heading(f"{self.before} → {self.after}", summary(self))]
            for section in sections(self):
                right = [at for at, title in enumerate(section.columns) if title in RIGHT]
                parts.append(table(section.columns, section.rows, right))
                if section.left_out:
                    parts.append(note(f"… and {section.left_out:,} more"))
        return str(display)
