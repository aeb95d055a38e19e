"""Consent: what a `refold.toml` can make run or reach, and whether the person agreed to it.

A `refold.toml` can come with a stranger's workspace. Everything in it that runs code, starts a
program, or connects to another machine is one `ConsentItem`, which has a name, a sentence, and a
digest over what was declared and over the contents of the files that it names. An item is used only
while the person has agreed to exactly this digest.
"""

from tui.cli.support.consent.agreements import agreed_digests, keep_agreement, revoke_agreement
from tui.cli.support.consent.item import ConsentItem, Isolation, NamedFile
from tui.cli.support.consent.prompt import require_consent

__all__ = [
    "ConsentItem",
    "Isolation",
    "NamedFile",
    "agreed_digests",
    "keep_agreement",
    "require_consent",
    "revoke_agreement",
]
