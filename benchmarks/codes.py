"""Cases of codes that are looked for: among a table's values, and among vectors."""

from __future__ import annotations

import numpy as np

import quant_engine as qe
from benchmarks import code_peers
from benchmarks.comparison import Comparison, Peer, TimesAsFast
from benchmarks.data import Sizes, weights

BLOCK = 64
DIM, BITS = 8, 8
LEARNED_FROM = 1 << 16  # vectors, as many as faiss takes of more
SHARE = 32  # of the parts, faiss trains one in so many
WORSE = 1.01  # squared errors allowed, in units of the peer's
NEAR = 4e-7  # relative distance to a threshold within which a product with 1/scale may decide otherwise than a quotient


def nf4(sizes: Sizes) -> Comparison:
    """Find the scales of groups of 64 and the NF4 codes."""
    x = weights(sizes.rows, sizes.columns)
    spec = qe.QuantizerSpec(qe.NF4, qe.PerGroup(BLOCK))
    run = code_peers.nf4(x, BLOCK)

    def check() -> str:
        if run is None:
            return "no peer to compare with"
        q = qe.quantize(x, spec)
        differ = np.flatnonzero(q.codes.reshape(-1) != code_peers.unpacked(run(), x.shape).reshape(-1))
        u = x.reshape(-1)[differ] / q.scale.reshape(-1)[differ // BLOCK]
        values = qe.NF4.values()
        edges = 0.5 * (values[1:] + values[:-1])
        far = np.abs(u[:, None] - edges).min(axis=1, initial=np.inf) > NEAR
        assert not far.any(), f"{int(far.sum())} codes differ from the peer's away from thresholds"
        return f"the same codes but for {differ.size} within float32 rounding of a threshold"

    note = "" if run else code_peers.NO_BITSANDBYTES
    return Comparison(
        lambda: qe.quantize(x, spec), (Peer("bitsandbytes", run, TimesAsFast(40), note=note),), check=check
    )


def vector_encode(sizes: Sizes) -> Comparison:
    """Find the nearest of 256 codewords of every 8 values."""
    x = weights(sizes.rows, sizes.columns)
    points = x.reshape(-1, DIM)
    fitted = qe.fit(x.reshape(-1, DIM)[:LEARNED_FROM], qe.QuantizerSpec(qe.VectorCodebook(DIM, 1 << BITS)))
    peer = code_peers.product_quantizer(DIM, 1, BITS)
    if peer is not None:
        import faiss

        assert fitted.learned is not None
        faiss.copy_array_to_vector(fitted.learned.reshape(-1), peer.centroids)

    def check() -> str:
        if peer is None:
            return "no peer to compare with"
        ours, theirs = fitted.measure(points).squared_error, code_peers.squared_error(peer, points)
        assert abs(ours / theirs - 1.0) <= NEAR, f"the squared error is {ours / theirs:.8f} times the peer's"
        return "the same squared error from the same codewords"

    run = None if peer is None else lambda: peer.compute_codes(points)
    against = Peer("faiss", run, TimesAsFast(2), note="" if run else code_peers.NO_FAISS)
    return Comparison(lambda: fitted.encode(points), (against,), check=check)


def vector_train(sizes: Sizes) -> Comparison:
    """Learn 256 codewords of 8 values from 65,536 vectors."""
    points = weights(sizes.rows, sizes.columns).reshape(-1, DIM)[:LEARNED_FROM]
    return _training(points, points, 1, 1)


def product_train(sizes: Sizes) -> Comparison:
    """Learn 256 codewords for every 8 columns from all rows."""
    x = weights(sizes.rows, sizes.columns)
    parts = x.shape[1] // DIM
    some = max(parts // SHARE, 1)
    return _training(x, np.ascontiguousarray(x[:, : some * DIM]), parts, 5, some / parts)


def _training(
    x: code_peers.Array, points: code_peers.Array, parts: int, least: float, share: float = 1.0
) -> Comparison:
    """Compare learning from all columns with the peer's from those of `points`, a share of them."""
    spec = qe.QuantizerSpec(qe.ProductCodebook(x.shape[1], 1 << BITS, parts))
    run = code_peers.training(points, points.shape[1] * parts // x.shape[1], BITS)

    def check() -> str:
        if run is None:
            return "no peer to compare with"
        x_hat = qe.fake_quantize(x, spec)[:, : points.shape[1]]
        ours = np.square(x_hat - points, dtype=np.float64).sum()
        ratio = float(ours) / code_peers.squared_error(run(), points)
        assert ratio <= WORSE, f"the squared error is {ratio:.4f} times the peer's"
        return f"{ratio:.4f} × the peer's squared error"

    against = Peer("faiss", run, TimesAsFast(least), share, note="" if run else code_peers.NO_FAISS)
    return Comparison(lambda: qe.fit(x, spec), (against,), check=check)
