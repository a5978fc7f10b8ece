"""A few small things in our folder that outlive runs and are every job's: see ``remotes.Store``.

What may live here: how one of many wins a name. Where the server refuses to write what is there already, by
that. Where it does not, by intents: who wants a name says so in an object of its own, and lists those of all.
Who is alone then has it. Of two at the same time both see the other, and both step back: it may be that none
gets it at once, never that both do, as long as a listing shows all that was written before (S3 has promised
that since 2020).
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reconcile.core.errors import Unreachable
from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.drift import over
from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.keys import STORE
from reconcile.remotes.s3.listing import names_in, pages
from reconcile.remotes.s3.site import Site

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CLAIM, _BY = "claim", "by"  # noted with an object: that it has no value, and who wrote it
_LIFE = 300  # seconds after which an intent is a dead client's
_ROUNDS = 40
_PAUSE = 0.4  # seconds at most, before one who has stepped back tries again


class S3Store:
    """See ``Store``."""

    def __init__(self, site: Site, try_out: Callable[[], None]) -> None:
        self._site = site
        self._try_out = try_out

    def get(self, name: str) -> bytes | None:
        """See ``Store``."""
        key = self._at(name)
        there = self._head(key)
        if there is None or tags.notes_of(there).get(_CLAIM):
            return None
        size = tags.asked(there).size
        with self._explained("read", key):
            return self._site.service.read(key, 0, size)

    def put_new(self, name: str, value: bytes) -> bool:
        """See ``Store``."""
        return self._make(self._at(name), value, {})

    def claim(self, name: str) -> bool:
        """See ``Store``."""
        return self._make(self._at(name), b"", {_CLAIM: "1"})

    def names(self) -> list[str]:
        """See ``Store``."""
        files, _ = names_in(self._site.service, self._folder)
        return sorted(name for name in files if _NAME.fullmatch(name))

    def age(self, name: str) -> int | None:
        """See ``Store``. By the server's clock: it says what time it is with each answer."""
        there = self._head(self._at(name))
        if there is None:
            return None
        now = self._site.service.now() or time.time()
        return max(0, int(now - there["LastModified"].timestamp()))

    def renew(self, name: str) -> bool:
        """See ``Store``. The same is written once more: only where it still is, if the server heeds that."""
        key = self._at(name)
        there = self._head(key)
        if there is None:
            return False
        shown, notes = tags.asked(there), dict(tags.notes_of(there))
        with self._explained("renew", key):
            try:
                value = self._site.service.read(key, 0, shown.size)
                headers = {**self._site.headers.of_ours, **over(self._site, key, shown)}
                self._site.service.ask("put_object", Key=key, Body=value, Metadata=notes, **headers)
            except Refusal as refusal:
                if refusal.is_unmet or refusal.is_absent:
                    return self._is_by(key, notes.get(_BY))
                raise
        return True

    def drop(self, name: str) -> bool:
        """See ``Store``."""
        key = self._at(name)
        self._try_out()
        if not self._site.ability.deletes_same:
            with self._alone(key) as is_alone:
                there = is_alone and self._head(key) is not None
                if there:
                    self._site.service.ask("delete_object", Key=key)
                return bool(there)
        with self._explained("remove", key):
            try:
                shown = tags.asked(self._site.service.ask("head_object", Key=key))
                self._site.service.ask("delete_object", Key=key, IfMatch=shown.condition)
            except Refusal as refusal:
                if refusal.is_absent or refusal.is_unmet:
                    return False
                raise
        return True

    def drop_all(self, names: Iterable[str]) -> None:
        """See ``Store``."""
        for name in names:
            self.drop(name)

    @property
    def _folder(self) -> str:
        return f"{self._site.keys.work}{STORE}/"

    def _at(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"no name for the store: {name!r}")
        return self._folder + name

    def _make(self, key: str, value: bytes, notes: dict[str, str]) -> bool:
        me = uuid.uuid4().hex
        notes = {**notes, _BY: me}
        self._try_out()
        if self._site.ability.puts_new:
            return self._write(key, value, notes, me, condition={"IfNoneMatch": "*"})
        with self._alone(key) as is_alone:
            return is_alone and self._head(key) is None and self._write(key, value, notes, me, condition={})

    def _is_by(self, key: str, me: str | None) -> bool:
        """Whether what is there was written by us: a request that is made twice meets that."""
        there = self._head(key)
        return there is not None and me is not None and tags.notes_of(there).get(_BY) == me

    def _write(
        self, key: str, value: bytes, notes: dict[str, str], me: str, condition: dict[str, str]
    ) -> bool:
        with self._explained("write", key):
            try:
                headers = {**self._site.headers.of_ours, **condition}
                self._site.service.ask("put_object", Key=key, Body=value, Metadata=notes, **headers)
            except Refusal as refusal:
                if not refusal.is_unmet:
                    raise
                return self._is_by(key, me)
        return True

    def _head(self, key: str) -> Mapping[str, Any] | None:
        with self._explained("look at", key):
            try:
                return self._site.service.ask("head_object", Key=key)
            except Refusal as refusal:
                if refusal.is_absent:
                    return None
                raise

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Whether nobody else who asks for it changes what is there meanwhile; False: it is not known.

        RACE: an intent that is older than five minutes counts as a dead client's. If it is none, two may win.
        """
        folder = f"{self._folder}.intents/{key.rpartition('/')[2]}/"
        mine = folder + uuid.uuid4().hex
        service = self._site.service
        with self._explained("write", mine):
            for _ in range(_ROUNDS):
                service.ask("put_object", Key=mine, Body=b"", **self._site.headers.of_ours)
                try:
                    if self._others(folder, mine):
                        continue
                    yield True
                    return
                finally:
                    service.ask("delete_object", Key=mine)
                    time.sleep(0)
            yield False

    def _others(self, folder: str, mine: str) -> bool:
        """Whether somebody else is at it; if so, some time has passed when this returns."""
        now = self._site.service.now() or time.time()
        for page in pages(self._site.service, folder):
            for item in page.get("Contents", ()):
                if item["Key"] != mine and now - item["LastModified"].timestamp() < _LIFE:
                    self._site.service.ask("delete_object", Key=mine)
                    time.sleep(random.random() * _PAUSE)  # noqa: S311 - no secret
                    return True
        return False

    @contextmanager
    def _explained(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except Refusal as refusal:
            raise Unreachable(
                f"What runs share on the remote can't be used: {doing} {key}, {self._site.service.where}: "
                f"{refusal}."
            ) from None
