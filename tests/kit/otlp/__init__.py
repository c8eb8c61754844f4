"""What the tests of the OTLP decoder are made of; only the last two import anything of it.

plugin      pytest's options, hypothesis profiles, the folder of real payloads
layouts     how encoders lay a request out, named and random
encode      writes an official message in a layout
strategies  draws requests, with `faults` for what the data model forbids
mutate      damages encoded bytes
model       what must be stored of a request, from the data model
observed    what a decoder made of it, in the model's terms
judge       feeds a decoder and compares the two
"""
