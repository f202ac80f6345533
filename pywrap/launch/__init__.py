"""How a program is started: ``patch_or_confine`` before the exec, ``bootstrap`` behind it, in the target."""
