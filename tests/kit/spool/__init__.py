"""What the tests of the spool share.

samples   entries whose content is computed from their sequence, and spools that hold them
worker    the programs that run as processes of their own
"""
