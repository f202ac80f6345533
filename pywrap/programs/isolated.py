# Its first line is nothing, since -x skips it.
"""Run as a script by a Python with -I, -E or -S: loads pysocksify, and then does what the command line said.

    python [OPTION]... isolated.py code|module|script|script-x|stdin TARGET COUNT [WORD]... [ARG]...

COUNT words follow TARGET: those of the original command before the arguments of the program. OPTION are those
that the interpreter had there. One thing differs from Python itself: with a terminal as stdin, the session of
Python 3.11 and 3.12 is one of the module ``code``. Any Python may read this file, however old: hence its style.

Everything is in one function: this module is ``__main__``, and is emptied before the program runs in it.
"""


def main():
    """Load the patches, and then do what the interpreter would have done without this script."""
    import os
    import sys

    ours = __file__
    here = os.path.abspath(ours)

    def load():
        """Arm the patches, as startup/sitecustomize.py does, which ends the process when that fails."""
        folder = os.path.dirname(os.path.dirname(here))
        name = os.path.join(folder, "launch", "startup", "sitecustomize.py")
        with open(name, "rb") as file:
            source = file.read()
        # Not as "sitecustomize": under that name it runs the file of this name that it hides, which site has
        # run already, or must not run (-S).
        exec(compile(source, name, "exec"), {"__name__": "isolated", "__file__": name})

    def as_module(name, alter_argv=True):
        import runpy

        runpy._run_module_as_main(name, alter_argv)

    def is_package(file):
        """Whether file is a directory or a zip file, which python(1) puts on sys.path to run its __main__."""
        if os.path.isdir(file):
            return True
        import zipimport

        try:
            zipimport.zipimporter(file)
        except zipimport.ZipImportError:
            return False
        return True

    def as_code(source, name):
        run(lambda: compile(source, name, "exec", dont_inherit=True))

    def as_compiled(loader):
        def code():
            try:
                return loader.get_code("__main__")
            except ImportError:
                raise RuntimeError("Bad magic number in .pyc file")

        run(code)

    def run(code):
        try:
            exec(code(), namespace)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            # The traceback is shown without the frames of this file, as Python itself would show it.
            kind, error, trace = sys.exc_info()
            while trace is not None and trace.tb_frame.f_code.co_filename == ours:
                trace = trace.tb_next
            sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
            sys.last_exc = error
            sys.excepthook(kind, error, trace)
            sys.exit(1)

    def interact():
        """As Python does with a terminal: its banner, the hook of site, and the REPL of its version."""
        if not sys.flags.quiet:
            sys.stderr.write("Python %s on %s\n" % (sys.version, sys.platform))
            if not sys.flags.no_site:
                words = '"help", "copyright", "credits" or "license"'
                sys.stderr.write("Type %s for more information.\n" % words)
        getattr(sys, "__interactivehook__", lambda: None)()
        if sys.version_info < (3, 13):
            import code

            code.interact("", local=namespace, exitmsg="")
        elif os.environ.get("PYTHON_BASIC_REPL") and not sys.flags.ignore_environment:
            sys._baserepl()
        else:
            from _pyrepl.main import interactive_console

            # It says what prevents it, and is the plain one then.
            interactive_console(sys.modules["__main__"], pythonstartup=not sys.flags.ignore_environment)

    load()
    mode, _, skips_line = sys.argv[1].partition("-")
    target, count = sys.argv[2], int(sys.argv[3])
    written, arguments = sys.argv[4 : 4 + count], sys.argv[4 + count :]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = written + arguments
    # Python has put the directory of this file on sys.path, in the place of the program's; but with -P or -I
    # it puts none.
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        first = {"code": "", "stdin": "", "module": os.getcwd()}
        sys.path[0] = os.path.dirname(os.path.realpath(target)) if mode == "script" else first[mode]
    sys.argv[:] = [{"code": "-c", "module": "-m"}.get(mode, target)] + arguments

    namespace = vars(sys.modules["__main__"])
    kept = ("__name__", "__package__", "__loader__", "__builtins__")
    for name in [name for name in namespace if name not in kept]:
        del namespace[name]
    namespace.update(__doc__=None, __spec__=None)
    if sys.version_info < (3, 14):
        namespace["__annotations__"] = {}
    if mode == "module":
        as_module(target)
    elif mode == "script" and os.path.exists(target) and is_package(target):
        sys.path.insert(0, target)
        as_module("__main__", False)
    elif mode == "script":
        try:
            with open(target, "rb") as file:
                source = file.read()
        except OSError as err:
            error = "%s: can't open file %r: [Errno %d] %s\n"
            sys.stderr.write(error % (sys.executable, os.path.abspath(target), err.errno, err.strerror))
            sys.exit(2)
        from importlib.machinery import SourceFileLoader, SourcelessFileLoader
        from importlib.util import MAGIC_NUMBER

        # By these, Python recognises a compiled file.
        is_compiled = target.endswith(".pyc") or source[:2] == MAGIC_NUMBER[:2]
        loader = (SourcelessFileLoader if is_compiled else SourceFileLoader)("__main__", target)
        namespace.update(__file__=target, __loader__=loader)
        if sys.version_info < (3, 15):
            namespace["__cached__"] = None
        if is_compiled:
            as_compiled(loader)
        else:
            # -x: Python skips the first line.
            as_code(b"\n" + source.partition(b"\n")[2] if skips_line else source, target)
    elif mode == "code":
        as_code(target, "<string>")
    elif sys.stdin is not None and sys.stdin.isatty():
        interact()
    elif sys.stdin is not None:
        as_code(sys.stdin.read(), "<stdin>")


main()
