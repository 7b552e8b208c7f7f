"""LRP through every torch function.

Read ``table`` first, which maps each function to its rule; the rules are in ``basics``, ``activations``, ``products``,
``linear``, ``in_place`` and ``written_out``. They put the autograd nodes of ``nodes``, ``proportion`` and ``layer`` on
their results. ``facts`` holds what is known of each tensor, ``pass_`` one forward pass.
"""
