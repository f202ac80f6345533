"""One file for each thing that is replaced in the interpreter, named after it."""
