"""Writes the `accounts` log: people are paid, spend, and send money to each other.

Its rule: no account spends more than it has, so a correct fold is never overdrawn.
Memory depends on the number of accounts, which grows with the log up to `_MOST_ACCOUNTS`.
"""

import random
from collections.abc import Iterator

from sample_logs.shared import ticks

_MOST_ACCOUNTS = 50_000
_SAVING = 0.3  # how often a deposit starts a saving rule: a transfer caused by it
_TO_ITSELF_FROM = 0.65  # share of the log after which a saving rule may name its own account
_TO_ITSELF = 0.05

_OWNERS = ("ada", "ben", "chloe", "dmitri", "emre", "fatima", "grace", "hana", "ines", "jonas")
_SOURCES = ("salary", "salary", "cash", "refund")
_PLACES = ("atm", "card", "card", "debit")
_PURPOSES = ("rent", "dinner", "tickets", "gift", "books")


class _Account:
    """The state of an account in the generator: its balance and its next revision."""

    __slots__ = ("balance", "name", "owner", "revision")

    def __init__(self, number: int) -> None:
        self.name = f"account-{number}"
        self.owner = _OWNERS[number % len(_OWNERS)]
        self.balance = 0
        self.revision = 0


class _Bank:
    """Writes one line per call and keeps the balances."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed).random
        self.accounts: list[_Account] = []
        self.transfers = 0

    def opened(self, offset: int, time: str) -> str:
        account = _Account(len(self.accounts) + 1)
        self.accounts.append(account)
        data = f'{{"owner":"{account.owner}"}}'
        return self._own(offset, time, account, "AccountOpened", data)

    def deposited(self, offset: int, time: str, account: _Account) -> str:
        amount = 5_000 + int(self.rnd() * 250_000)
        account.balance += amount
        data = f'{{"amount":{amount},"source":"{self.pick(_SOURCES)}"}}'
        return self._own(offset, time, account, "Deposited", data)

    def withdrawn(self, offset: int, time: str, account: _Account) -> str:
        amount = 1 + int(self.rnd() * account.balance / 2)
        account.balance -= amount
        data = f'{{"amount":{amount},"place":"{self.pick(_PLACES)}"}}'
        return self._own(offset, time, account, "Withdrawn", data)

    def transferred(
        self, offset: int, time: str, payer: _Account, payee: _Account, cause: str | None = None
    ) -> str:
        amount = 1 + int(self.rnd() * payer.balance / 3)
        payer.balance -= amount
        payee.balance += amount
        self.transfers += 1
        purpose = self.pick(_PURPOSES) if cause is None else "saving"
        data = (
            f'{{"from":"{payer.name}","to":"{payee.name}","amount":{amount},"purpose":"{purpose}"}}'
        )
        place = f'"transfer-{self.transfers}","revision":0'
        user = payer.owner if cause is None else "saving-rule"
        return _line(offset, time, place, "TransferMade", data, user=user, cause=cause)

    def pick(self, words: tuple[str, ...]) -> str:
        return words[int(self.rnd() * len(words))]

    def anyone(self) -> _Account:
        return self.accounts[int(self.rnd() * len(self.accounts))]

    def other(self, account: _Account) -> _Account:
        """Return any account except this one."""
        place = int(self.rnd() * (len(self.accounts) - 1))
        found = self.accounts[place]
        return found if found is not account else self.accounts[-1]

    def _own(self, offset: int, time: str, account: _Account, kind: str, data: str) -> str:
        account.revision += 1
        place = f'"{account.name}","revision":{account.revision - 1}'
        return _line(offset, time, place, kind, data, user=account.owner)


def _line(
    offset: int, time: str, place: str, kind: str, data: str, *, user: str, cause: str | None = None
) -> str:
    # Events that one event causes share its correlation id.
    first = f"ev-{offset}" if cause is None else cause
    quoted = "null" if cause is None else f'"{cause}"'
    return (
        f'{{"id":"ev-{offset}","time":"{time}","stream":{place}'
        f',"type":"{kind}","version":1,"correlation_id":"{first}","causation_id":{quoted}'
        f',"data":{data},"meta":{{"user":"{user}"}}}}'
    )


def lines(events: int, seed: int) -> Iterator[str]:
    """Yield the lines of the log, without line ends."""
    bank = _Bank(seed)
    rnd = bank.rnd
    most = min(_MOST_ACCOUNTS, max(4, events // 25))
    saver: _Account | None = None
    for offset, (_, time) in enumerate(ticks(events, seed)):
        if saver is not None:
            to_itself = offset > events * _TO_ITSELF_FROM and rnd() < _TO_ITSELF
            payee = saver if to_itself else bank.other(saver)
            yield bank.transferred(offset, time, saver, payee, cause=f"ev-{offset - 1}")
            saver = None
            continue
        count = len(bank.accounts)
        # Most accounts are opened in the first third, some until the end.
        if count < 3 or (count < most and rnd() < 0.12):
            yield bank.opened(offset, time)
            continue
        account = bank.anyone()
        chance = rnd()
        if account.balance < 100 or chance < 0.3:
            yield bank.deposited(offset, time, account)
            saver = account if rnd() < _SAVING else None
        elif chance < 0.6:
            yield bank.withdrawn(offset, time, account)
        else:
            yield bank.transferred(offset, time, account, bank.other(account))
