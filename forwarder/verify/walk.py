"""The walk over a log: spans and the contents of batches, checked several at a time, are joined here in order.

Memory does not grow with the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from forwarder.archive.interface import Archive
from forwarder.seal import merkle, tiles
from forwarder.seal.manifest import checkpoint_name
from forwarder.seal.note import Checkpoint, NoteError
from forwarder.verify import span as spans
from forwarder.verify.content import check_large, check_piece, fetch
from forwarder.verify.keys import Keys
from forwarder.verify.names import Names
from forwarder.verify.policy import Policy
from forwarder.verify.pool import Pool, result
from forwarder.verify.span import Job, Span, check_exact, check_link, check_span
from forwarder.verify.tree import Start, leaves
from forwarder.verify.verdict import LogVerdict

SPAN_WEIGHT: Final = 16 << 20
"""Checking the signatures and tiles of a span takes about as long as checking so many bytes of records."""

Advance = Callable[[int], object]


class Walk:
    """The walk over one log, from a start to the newest batch.

    Args:
        pool: does the work, and knows the log's archive.
        keys: the log's keys.
        pins: checkpoints known from elsewhere, which the log must contain.
        policy: what is expected beyond intact bytes.
        verdict: takes what is found.
        advance: called with a number of batches that were checked.
    """

    def __init__(
        self, pool: Pool, keys: Keys, pins: list[Checkpoint], policy: Policy, verdict: LogVerdict, advance: Advance
    ) -> None:
        self.pool, self.keys, self.policy, self.verdict = pool, keys, policy, verdict
        self.archive: Archive = pool.archive
        self.names = Names()
        self.leftovers = 0
        """Objects that may belong to batches whose manifests are gone."""
        self.begins_late = False
        """Manifests at the beginning are gone, past retention."""
        self._advance = advance
        self._pinned = {pin.size: pin.root for pin in pins}
        self._contents: deque[tuple[int, Future[LogVerdict]]] = deque()
        self._evidence: set[str] = set()
        self.begin(Start())

    def begin(self, start: Start) -> None:
        """Go on behind the batches that a start stands for."""
        self.tree = merkle.Frontier(start.frontier.size, start.frontier.nodes)
        self.verdict.read_from = self.tree.size
        self._known = list(start.known)
        self._link = start.link
        self._levels = [list(level) for level in start.levels]

    @property
    def size(self) -> int:
        """Batches up to where the walk has come."""
        return self.tree.size

    def run(self) -> None:
        """Check batches until a manifest is missing."""
        waiting: deque[Future[Span]] = deque()
        first, known = self.size, tuple(self._known)
        while True:
            while len(waiting) < (2 * self.pool.jobs if self.pool.parallel else 1):
                job = Job(self.keys, self.policy, first, known)
                waiting.append(self.pool.submit(SPAN_WEIGHT, check_span, job))
                first, known = first - len(known) + tiles.WIDTH, ()
            span = result(waiting.popleft())
            self._join(span)
            if not span.complete:
                break
        for future in waiting:
            future.cancel()
        self._collect(0)

    def _join(self, span: Span) -> None:
        """Put a span behind those before it."""
        verdict = self.verdict
        if span.begins is not None:
            check_link(self._link, span.begins, span.first, verdict)
        self._link = span.ends or self._link
        for leaf, sha256, claim in zip(leaves(span.first, span.hashes), span.hashes, span.claims, strict=True):
            self.tree.add(leaf)
            self._known.append(sha256)
            root = self.tree.root()
            self._check_claim(claim, root)
            if self._pinned.get(self.size, root) != root:
                self._rewritten(self.size, self._pinned[self.size], root)
            if self.size % tiles.WIDTH == 0:
                self._check_upper_tiles()
        verdict.merge(span.verdict)
        verdict.sealed_until = span.verdict.sealed_until or verdict.sealed_until
        self.names.add(span.names)
        self._advance(len(span.hashes) - sum(len(piece) for piece in span.later))
        self._hand_out(span)

    def _hand_out(self, span: Span) -> None:
        """Have the contents checked that the span was too large for."""
        origin = self.keys.origin
        for piece in span.later:
            self._contents.append((len(piece), self.pool.submit(spans.BUDGET, check_piece, origin, piece, self.policy)))
        for item in span.evidence:
            seen = item.evidence.stored_sha256 + item.evidence.raw_sha256
            if seen not in self._evidence:
                self._evidence.add(seen)
                work = self.pool.submit(item.evidence.raw_bytes, check_large, origin, item, self.policy)
                self._contents.append((0, work))
        self._collect(4 * self.pool.jobs)

    def _collect(self, leave: int) -> None:
        """Take in what has come of contents, until not more than so many are left."""
        while len(self._contents) > leave:
            batches, future = self._contents.popleft()
            self.verdict.merge(result(future))
            self._advance(batches)

    def _check_claim(self, claim: Checkpoint | bytes | None, root: bytes) -> None:
        """Hold a checkpoint against the tree."""
        if claim is None:
            return  # missing, which is found already
        name, batch = checkpoint_name(self.size), self.size - 1
        try:
            checkpoint = self.keys.open(claim, self.size) if isinstance(claim, bytes) else claim
        except NoteError as error:
            self.verdict.add("checkpoint-invalid", f"the checkpoint is invalid: {error}", batch=batch, object=name)
            return
        if (checkpoint.origin, checkpoint.size, checkpoint.root) == (self.keys.origin, self.size, root):
            self.verdict.size, self.verdict.root = self.size, root.hex()
            return
        self.verdict.add(
            "checkpoint-differs",
            "the checkpoint was signed for another log than this: a manifest was changed, or it was exchanged",
            batch=batch,
            object=name,
            expected=f"{checkpoint.origin} {checkpoint.size} {checkpoint.root.hex()}",
            found=f"{self.keys.origin} {self.size} {root.hex()}",
        )

    def _rewritten(self, size: int, expected: bytes, found: bytes) -> None:
        self.verdict.add(
            "rewritten",
            f"the log's first {size} batches are not those that were verified or pinned before",
            expected=expected.hex(),
            found=found.hex(),
        )

    def check_pins_below(self, root_at: Callable[[int], bytes]) -> None:
        """Hold the pins that lie before the start against the tree there.

        Raises:
            TreeError: the tiles that tell the root are not there.
        """
        for size, root in self._pinned.items():
            if size <= self.size and root_at(size) != root:
                self._rewritten(size, root, root_at(size))

    def _check_upper_tiles(self) -> None:
        """Check the tiles of level 1 and above that a full tile of level 0 brings."""
        value = merkle.root(leaves(self.size - tiles.WIDTH, self._known))
        self._known = []
        level = 1
        while True:
            if len(self._levels) < level:
                self._levels.append([])
            hashes = self._levels[level - 1]
            if len(hashes) == tiles.WIDTH:
                hashes.clear()
            hashes.append(value)
            if len(hashes) < tiles.WIDTH:
                break
            value = merkle.root(hashes)
            level += 1
        for tile_level, index, width in tiles.right_edge(self.size):
            if tile_level:
                path = tiles.path(tile_level, index, width)
                content = b"".join(self._levels[tile_level - 1])
                (found,) = fetch(self.archive, [(path, len(content))], self.verdict)
                self.verdict.bytes_read += len(found or b"")
                check_exact(path, content, found, self.size - 1, self.verdict)

    def close(self) -> None:
        """Forget what was gathered."""
        self.names.close()
