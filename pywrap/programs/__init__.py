"""Programs that are executed: which of them are Pythons, and how a Python is made to read our start-up file.

Used by the launcher, for PROGRAM, and by the target, for the children that it starts.
"""
