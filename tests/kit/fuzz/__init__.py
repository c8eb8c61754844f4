"""Inputs that nobody should send, by the thousand and by number.

plugin     how long the fuzz tests go on
seeds      sound requests to begin with: captured ones, and made ones in every layout
inputs     the input with a given number, which is the same in every run
judge      feeds both decoders, and compares them
http2      frames of HTTP/2 written by hand, for what no gRPC library would send
"""
