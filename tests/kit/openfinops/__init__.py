"""What tests need of openfinops 0.3.0 itself.

plugin the fixture `openfinops`: the published package, in a folder of its own
"""
