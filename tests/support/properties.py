"""How many examples a property is tested with."""

from hypothesis import settings


def examples(usual: int) -> int:
    """Return the number of examples in the current profile, for a property with `usual` ones in `ci`.

    `dev` has a fifth of them and `nightly` ten times as many.
    """
    return max(2, usual * settings().max_examples // 100)
