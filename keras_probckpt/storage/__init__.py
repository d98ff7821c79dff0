"""Where checkpoints are kept: the file-system port, the commit protocol, the lock, the keys, and what a path means.

2026-11-23. A checkpoint is one directory, and its rename from a hidden name is the commit. The alternatives looked at:
a journal or an index file per run (a second truth that can disagree with the directories), and committing by the
manifest alone (a reader then has to open each directory to know). The parts follow the protocol: `names` (what is
visible and what is hidden), `committing`, `listing`, `removal`, each a handful of functions on the port, and `store`,
which is all that the layers above see of them. Deleting hides first as well: what is listed is whole at every moment.
"""
