"""The state of training: which variables there are, what they hold at one moment, and how to put it back."""
