"""How a program is started: ``command`` before the exec, ``bootstrap`` behind it, in the target."""
