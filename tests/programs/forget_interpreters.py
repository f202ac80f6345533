"""Makes two interpreters, and keeps no reference: before Python 3.13, each ends with that."""

try:
    import _interpreters as module
except ModuleNotFoundError:
    import _xxsubinterpreters as module

run = getattr(module, "exec", None) or module.run_string
for _ in range(2):
    made = module.create()
    run(made, "import socket")
    del made
print(2)
