from setuptools import setup

setup(cffi_modules=["edgesnn/_build.py:ffibuilder"])
