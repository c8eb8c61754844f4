"""Tools for the tests of the OTLP decoder; only `observed` and `checks` import the exporter.

plugin      pytest options, hypothesis profiles, the folder of captured payloads
messages    builds and traverses official messages
layouts     the encodings of known encoders, and random ones
encode      writes an official message in a layout
strategies  hypothesis strategies for requests
violations  changes that break a rule of the data model
mutate      damages encoded bytes
model       what must be stored of a request, according to the data model
observed    what a decoder stored of it, in the terms of `model`
checks      runs a decoder and compares the two
"""
