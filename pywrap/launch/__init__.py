"""How a program is started.

``patch_or_confine`` runs before the exec, ``bootstrap`` after it, in the target.
"""
