#!/bin/sh
# pip 26.3 and uv 0.13.9 (PyPI) drop the options behind `#!python` that setuptools 80.9.0 keeps in the wheel.
#
# Expected: a script of a distribution that begins with `#!/usr/bin/python3 -I` runs isolated when it is installed.
#   setuptools takes care of that: the wheel has `#!python -I`.
# Seen: both installers put the path of the interpreter there, and nothing behind it. The script says 1 for
#   sys.flags.isolated where it was written, and 0 where it is installed.
# Output: in the wheel: #!python -I; by pip: 0; by uv: 0
# Affected: commands that rely on -I, -E, -s, -S or -X in their first line. (Ours would start faster with -S.)
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv tools
tools/bin/pip -q install pip==26.3 2> log || { cat log >&2; exit 2; }
tools/bin/pip -q install uv==0.13.9 setuptools==80.9.0 wheel 2> log || { cat log >&2; exit 2; }
mkdir project
cat > project/setup.py << 'END'
from setuptools import setup
setup(name="isolated-command", version="1", scripts=["isolated-command"])
END
cat > project/isolated-command << 'END'
#!/usr/bin/python3 -I
import sys
print(sys.flags.isolated)
END
chmod +x project/isolated-command
test "$(project/isolated-command)" = 1
(cd project && ../tools/bin/python setup.py -q bdist_wheel) > log 2>&1 || { cat log >&2; exit 2; }
wheel=$(echo project/dist/*.whl)
first=$(tools/bin/python -c "import sys, zipfile; wheel = zipfile.ZipFile(sys.argv[1]); print(next(
    wheel.read(name).decode().splitlines()[0] for name in wheel.namelist() if name.endswith('scripts/isolated-command')))" "$wheel")
python3 -m venv by-pip
python3 -m venv by-uv
tools/bin/pip --python by-pip/bin/python -q install --no-index "$wheel" 2> log || { cat log >&2; exit 2; }
tools/bin/uv -q pip install --no-index --python by-uv/bin/python "$wheel" 2> log || { cat log >&2; exit 2; }
said="in the wheel: $first; by pip: $(by-pip/bin/isolated-command); by uv: $(by-uv/bin/isolated-command)"
echo "$said"
test "$said" = "in the wheel: #!python -I; by pip: 0; by uv: 0"
