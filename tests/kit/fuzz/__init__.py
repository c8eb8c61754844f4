"""Damaged and excessive input, for the fuzz tests and the load tests.

plugin      pytest options: how long the fuzz tests run
seeds       valid requests to start from: captured ones, and generated ones in every layout
inputs      the input with a given number, the same in every run
comparison  runs both decoders on one input and compares them
http2       HTTP/2 frames that no gRPC library sends
flood       many senders at once, and what is observed of the receiver meanwhile
"""
