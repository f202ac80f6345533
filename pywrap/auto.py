"""``import pywrap.auto`` protects the script that does it, with the settings of the configuration files.

Does nothing more under ``pysocksify``, whose settings are in force already.
"""

from pywrap import install, intercept

if not intercept.active():
    install()
