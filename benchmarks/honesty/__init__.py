"""How honest the analyst is: on markets without an edge, with a planted one, and on real ones.

`python -m benchmarks.honesty CAMPAIGN --seeds 0:100 --budget 600`; without a campaign it names them.
"""
