"""People made by a function, for load tests and rehearsals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from tidings.ports import A_DAY, Address, Person, Profile, Success
from tidings.stores.people_journal import (
    is_address,
    owners_of,
    registered,
    succeeded,
    with_addresses,
)


class FunctionPeople:
    """People made by a function: a load test's million of them need no file and no memory.

    An address is found only of ``everybody``, and of those who have changed: a function can't be
    asked the other way round.
    """

    def __init__(
        self, make: Callable[[Person], Profile | None], everybody: Collection[Person] = ()
    ) -> None:
        self._make = make
        self._everybody = everybody
        self._changed: dict[Person, Profile] = {}

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        """The profile of each, in order; None where the function gives none."""
        if not self._changed:
            return list(map(self._make, people))
        return [self._changed.get(person) or self._make(person) for person in people]

    def find(self, kind: str, values: Sequence[str]) -> list[tuple[Person, ...]]:
        """Whose each address is; see ``ports.People``."""
        people = list(dict.fromkeys((*self._everybody, *self._changed)))
        known = zip(people, self.profiles(people), strict=True)
        owners = owners_of(
            kind, [(each, profile) for each, profile in known if profile is not None]
        )
        return [owners.get(value, ()) for value in values]

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        """Forget one address in this process; tells whether it was there."""

        def without(profile: Profile) -> Profile:
            left = [one for one in profile.addresses if not is_address(one, kind, value)]
            same = len(left) == len(profile.addresses)
            return profile if same else with_addresses(profile, tuple(left))

        return self._change(person, without)

    def register(self, person: Person, address: Address, replaces: str = "") -> bool:
        """Take an address in this process; see ``ports.People``."""
        return self._change(person, lambda profile: registered(profile, address, replaces))

    def note_successes(self, successes: Sequence[Success]) -> None:
        """Keep, in this process, when addresses last took a message; see ``ports.People``."""
        for person, kind, value, at in successes:
            self._change(person, partial(succeeded, kind=kind, value=value, at=at, least=A_DAY))

    def _change(self, person: Person, change: Callable[[Profile], Profile]) -> bool:
        (profile,) = self.profiles([person])
        if profile is None:
            return False
        changed = change(profile)
        if changed is profile:
            return False
        self._changed[person] = changed
        return True
