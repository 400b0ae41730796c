from __future__ import annotations

from goodness.partition.base import PARTITIONS
from goodness.partition.chain import Chain


@PARTITIONS.register("block")
def block(chain: Chain) -> set[int]:
    """A block per residual block; elsewhere one per resolution, up to and including a pooling."""
    starts: set[int] = set()
    place = 0
    for whole in [*_wholes(chain), range(chain.head, chain.head)]:
        starts |= _plain(chain, range(place, whole.start))
        starts.add(whole.start)
        place = whole.stop
    return starts - {0, chain.head}


def _wholes(chain: Chain) -> list[range]:
    """Stretches of the chain that stay whole: modules of a kind that has a skip connection."""
    skips = [place for place in range(chain.head) if chain.atoms[place].skip]
    kinds = set()
    loose = []
    for place in skips:
        end = chain.atoms[place].nodes[-1]
        around = [
            call
            for call in chain.traced.calls
            if call.first <= end < call.last and not call.is_container
        ]
        # A network that is wrapped in another module is no block of it.
        size = len(chain.traced.nodes)
        several = around and sum(chain.atoms[p].skip for p in chain.atoms_of(around[0])) > 1
        if not around or (several and around[0].last - around[0].first > size / 2):
            loose.append(range(place, place + 1))
        else:
            kinds.add(type(around[0].module))
    found = [chain.atoms_of(call) for call in chain.traced.calls if type(call.module) in kinds]
    stretches = sorted(
        (stretch for stretch in [*found, *loose] if stretch), key=lambda r: (r.start, -r.stop)
    )
    outermost: list[range] = []
    for stretch in stretches:
        if not outermost or stretch.start >= outermost[-1].stop:
            outermost.append(stretch)
    return outermost


def _plain(chain: Chain, stretch: range) -> set[int]:
    """Cuts in a stretch without skip connections: before its first layer and after its poolings."""
    starts: set[int] = set()
    pooled = True
    for place in stretch:
        atom = chain.atoms[place]
        if atom.layer and pooled:
            starts.add(max(stretch.start, chain.layer_start(place)))
            pooled = False
        pooled = pooled or atom.pool
    return starts
