"""How to rebuild a model: from the live model to plain JSON values, and back.

A recipe is a *constructor tree*: each object is the class it is made by and the arguments it is made with, each
argument again such a tree, down to plain values. The modules:

- `codec`: walks the tree in both directions; knows only Python's own values.
- `plain`, `values`, `functions`, `keras_objects`, `graphs`, `tfp_objects`, `user_classes`: one kind of value each.
- `known`: the closed tables of tf_keras, TFP and TensorFlow. `construction`: an object by its class and arguments.
- `kinds`: all of them, in the order in which they are asked.
- `arguments`, `mixin`, `builder`: what user code leaves behind so that it can be found again.
- `registry`, `trust`: which code named by a recipe may run.
- `compiling`: the arguments of `compile`.
- `document`: the whole of `recipe.json`.

2026-11-23: `plain`, `values`, `graphs`, `user_classes`, `arguments`, `kinds`, `known`, `construction`, `registry`,
`compiling` and `document` were split off the modules the design names, so that each holds one kind of thing.
"""
