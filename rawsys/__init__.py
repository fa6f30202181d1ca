"""rawsys"""
import sys
from rawsys._native.install import install
install(sys.modules[__name__], "top")
