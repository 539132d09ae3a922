"""Plain torch for topomap, kept as it is to compare with: the precomputed operator as one product.

Nobody else precomputes the operator, so this rival already has our main idea; what is left to beat
is the product, the normalisation, the mask and the cast as separate passes.
"""


def topomap(values, matrix, mask, count, *, zscore, dtype):
    """values [N, F, C], matrix [C, P] (0 outside the mask) -> [N, F, P]; the mask is bool [P]."""
    if not zscore:
        return (values @ matrix).to(dtype)
    maps = (values - values.mean(-1, keepdim=True)) @ matrix  # 0 outside: sums need no mask
    mean = maps.sum(-1, keepdim=True) / count
    variance = maps.square().sum(-1, keepdim=True) / count - mean.square()
    return ((maps - mean) * variance.rsqrt() * mask).to(dtype)
