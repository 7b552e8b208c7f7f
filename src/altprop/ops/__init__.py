"""The op interceptor, and what LFP and LRP do with each torch function that it sees.

``interceptor`` sees every torch function that a model calls; ``names`` groups those functions by what they do to
values. ``lfp`` and ``lrp`` hold a table for each of the two rules, from function to backward rule.
"""
