"""How a program is started: ``command`` runs before the exec, ``bootstrap`` after it, in the target."""
