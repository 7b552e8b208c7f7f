"""The op interceptor, and one table for each rule of what it does with which torch function.

``interceptor`` sees every torch function that a model calls; ``names`` groups those functions by what they do to
values; ``lfp_rules`` says how LFP hands credit back through each group, and ``credit`` does the arithmetic.
"""
