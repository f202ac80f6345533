"""``import pywrap.auto`` protects the script that does it, with the settings of the configuration files.

Does nothing more under ``pysocksify``, whose settings are in force already.
"""

from pywrap import archive, install

# install() imports it as gevent and eventlet must not see it (``pywrap.green_patches``).
_intercept = archive.known("pywrap.intercept")
if _intercept is None or not _intercept.active():
    install()
