"""The scope of a fold: one projection on one timeline, which every row of a fold belongs to."""

from dataclasses import dataclass

from storage.quoting import quote_literal


@dataclass(frozen=True)
class FoldScope:
    """Selects the rows of one projection on one timeline, in any table of folds."""

    projection_number: int
    """Its row in `projections`."""
    timeline: str

    @property
    def condition(self) -> str:
        """SQL condition for the rows of the fold."""
        return (
            f"projection = {int(self.projection_number)}"
            f" AND timeline = {quote_literal(self.timeline)}"
        )

    def condition_on(self, alias: str) -> str:
        """Return the same condition for the columns of an alias, in parentheses."""
        return (
            f"(({alias}.projection = {int(self.projection_number)})"
            f" AND ({alias}.timeline = {quote_literal(self.timeline)}))"
        )

    @property
    def columns_sql(self) -> str:
        """SQL for the two columns with which the rows of the fold begin."""
        return (
            f"{int(self.projection_number)} AS projection,"
            f" {quote_literal(self.timeline)} AS timeline"
        )
