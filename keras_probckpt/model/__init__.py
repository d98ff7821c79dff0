"""What a live model holds: the objects it is made of, their attributes, and whether any of it has changed.

Nothing here knows of checkpoints or of fits.

- `objects`: the walk over all that a model leads to, by attribute, key and index.
- `own_names`: the attributes that a class's own code sets.
- `equality`: whether two values are the same, by value.
- `attributes`: the state of a model that is no variable, by path, and put back.
- `tables`: what lookup tables hold. `trainable`: which layers are trained.
- `watch`: whether a model has changed since it was last looked at.
- `unchanged`: a model is called for a look at it, and left as it was.

2026-11-28: the first rooms of the package that the design calls `model`. What else belongs here still stands in
`training`.
"""
