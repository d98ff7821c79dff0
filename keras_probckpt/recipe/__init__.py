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
- `description`, `code_uses`, `sources`: what a live model is and does, to compare. `differences`: how a rebuilt model
  differs. `compare`: how what it returns does.
- `document`: the whole of `recipe.json`.

2026-11-23: `plain`, `values`, `graphs`, `user_classes`, `arguments`, `kinds`, `known`, `construction`, `registry`,
`compiling` and `document` were split off the modules the design names, so that each holds one kind of thing.

2026-11-24: the layers are described apart from the constructor tree, by the same kinds of node without their tags. What
a model is made by says nothing of it where that is a user's function, and the ids and tags of the tree have a meaning.
"""
