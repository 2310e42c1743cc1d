"""Compressing clusters in threads, in order: what `convert -c` feeds an image with.

Threads are enough, because zlib and libzstd let go of the interpreter. A cluster at the disk's end is filled up with
zeros first: compressed or not, a cluster is whole.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from growdisk.qcow2.compress import CompressedCluster, compressor
from growdisk.qcow2.header import Header

_BATCH_BYTES = 256 << 10  # given to a thread at once, so that small clusters do not cost a hand-over each


def compress_clusters(
    clusters: Iterable[tuple[int, bytes]], target: Header, *, jobs: int = 0
) -> Iterator[CompressedCluster]:
    """Compress (guest offset, bytes) pairs for the image with this header, in order. `jobs=0`: one per processor.

    Each pair is one whole cluster, or the disk's last partial one. The memory taken is a few MiB whatever comes.
    Raises ToolMissing where the compression type's library is missing.
    """
    compress, cluster_size = compressor(target.compression_type), target.cluster_size

    def work(batch: list[tuple[int, bytes]]) -> list[CompressedCluster]:
        return [CompressedCluster.of(offset, data, cluster_size, compress) for offset, data in batch]

    jobs = jobs or len(os.sched_getaffinity(0))
    batches = _batches(clusters, max(1, _BATCH_BYTES // cluster_size))
    if jobs == 1:
        for batch in batches:
            yield from work(batch)
        return
    waiting: deque[Future[list[CompressedCluster]]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > 2 * jobs:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _batches(clusters: Iterable[tuple[int, bytes]], count: int) -> Iterator[list[tuple[int, bytes]]]:
    remaining = iter(clusters)
    while batch := list(islice(remaining, count)):
        yield batch
