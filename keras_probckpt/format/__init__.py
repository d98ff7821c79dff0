"""The disk format: pure functions between records, plain values, arrays and bytes. `SPEC.md` beside this is normative.

Nothing here opens a file, runs code or imports TensorFlow, so that a checkpoint can be listed, verified and shown by a
process that could not restore it.

2026-11-23: the tensor files are safetensors files, but the safetensors library is only the tests' oracle, in both
directions. Our writer hands the store the arrays' own memory without copying it, so that it can be digested on its way
to disk; the library copies the arrays into one string, or opens and writes the file itself. Our reader checks the size
of the header before it allocates anything for it, and views the arrays in a buffer that its caller has filled; the
library reads into buffers of its own. Arrays are laid out by the power of two that divides their size, where the
library sorts by item size: so nearly all bytes of a model start on a 64-byte boundary, and TensorFlow can adopt them
where they are.
"""
