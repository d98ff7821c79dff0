"""Where checkpoints are kept: the file-system port, the commit protocol, the lock, the keys, and what a path means.

2026-11-23. A checkpoint is one directory, and its rename from a hidden name is the commit. The alternatives looked at:
a journal or an index file per run (a second truth that can disagree with the directories), and committing by the
manifest alone (a reader then has to open each directory to know). The parts follow the protocol: `names` (what is
visible and what is hidden), `committing`, `listing`, `removal`, each a handful of functions on the port, and `store`,
which is all that the layers above see of them. Deleting hides first as well: what is listed is whole at every moment.

2026-11-24. `writer` works beside the training, and `run` tells it what. Its thread is there only while there is work,
and is no daemon, so the end of the interpreter waits for it and nothing is left to join; a thread that is kept needs
a shutdown of its own for every way in which a process, a fork or a notebook cell ends. One waiting place would do for
memory, but not for the rules: the best and the newest may both be pending, and training would wait for one of them. A
save is dropped for newer ones that are only asked for; if these fail, it is lost with them, and what is on disk stays.
"""
