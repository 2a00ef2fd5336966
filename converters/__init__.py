"""Converters: one module a source, each from a trained checkpoint to `edgesnn.network.Network`.

A converter is a plug-in: a `Source` in the entry-point group `edgesnn.converters`.
"""
