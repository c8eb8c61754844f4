"""What the tests of the backends are made of.

samples     series, points and whole batches with as little typing as possible
kinds       the backends under test
reading     what a backend has stored, in terms that are the same for every database
old_stores  what the stores of earlier versions in tests/migrations hold
plain       a store of plain dicts that says what should be there
strategies  draws batches
programs    runs small programs as processes of their own: writers, holders of locks
worker      these programs
"""
