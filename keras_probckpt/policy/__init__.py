"""What to save and what to keep: pure functions on records, with no clock, no path and no TensorFlow.

`objective` says which checkpoint is best (`direction`: in which direction), `retention` which ones stay, `selection`
joins the two for one run; `schedule` says when to save and `naming` under what name. They decide; `storage` does.

2026-11-23: with `min_delta` above 0, which checkpoint is best depends on the order in which the scores came, and a
later reader sees only the checkpoints that were kept. So `retention.plan_removals` may keep a few more than the rules
ask for: earlier bests without which the best of what is left would be another than the best of the whole run. With
`min_delta=0`, or with one best and one newest kept, there are none.
"""
