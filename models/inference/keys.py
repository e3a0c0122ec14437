"""What a row's result depends on, as a key: a changed input runs again, all others stay."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from models.inference.requests import Sampling
from models.inference.rows import RowTable
from models.inference.segments import KEY_BYTES
from models.inference.token_table import TokenTable


@dataclass(frozen=True)
class Samplings(Sequence[Sampling]):
    """Sampling parameters by prompt, made when asked for.

    A row that draws and brings no seed gets one from the job's seed and its custom_id, so
    that its draws do not depend on where it stands, on its neighbours or on the backend.
    """

    rows: RowTable
    seed: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Sampling: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sampling]: ...

    def __getitem__(self, index: int | slice) -> Sampling | list[Sampling]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        sampling = self.rows.sampling(int(index))
        if sampling.is_greedy or sampling.seed is not None:
            return sampling
        said = f"{self.seed}/{self.rows.custom_id(int(index))}".encode(errors="surrogatepass")
        digest = hashlib.blake2b(said, digest_size=8).digest()
        # 63 bits: the row table and the servers behind HTTP take signed integers.
        return replace(sampling, seed=int.from_bytes(digest, "little") >> 1)


def row_keys(
    prompts: TokenTable, samplings: Samplings, fingerprint: str, mode: str, is_merging: bool
) -> list[bytes]:
    """Return the key of every prompt.

    Args:
        prompts: All prompts.
        samplings: Their parameters.
        fingerprint: Of the model.
        mode: Backend and number type, whatever else may change tokens.
        is_merging: Whether equal prompts with equal parameters are one piece of work.

    Returns:
        Hashes of (token ids, sampling, tenant, model, mode), 16 bytes each.
    """
    base = hashlib.blake2b(f"{fingerprint}\0{mode}\0".encode(), digest_size=KEY_BYTES)
    tenants = samplings.rows.numbers("tenant")
    names = [name.encode(errors="surrogatepass") for name in samplings.rows.tenants]
    digests: dict[Sampling, bytes] = {}
    keys = []
    for prompt in range(len(prompts)):
        sampling = samplings[prompt]
        digest = digests.get(sampling)
        if digest is None:
            digest = sampling.digest().encode()
            if sampling.is_greedy:  # draws have seeds of their own: no two are alike
                digests[sampling] = digest
        state = base.copy()
        state.update(digest)
        state.update(names[int(tenants[prompt])])
        if not is_merging:
            state.update(samplings.rows.custom_id(prompt).encode(errors="surrogatepass"))
        state.update(b"\0")
        state.update(np.ascontiguousarray(prompts[prompt], "<u4").data.cast("B"))
        keys.append(state.digest())
    return keys
