"""What the tests of the spool share.

samples  entries whose content follows from their sequence, so that any of them can be checked
worker   programs that run as processes of their own
"""
