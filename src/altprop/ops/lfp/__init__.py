"""LFP through every torch function.

``table`` maps each function to its rule; ``credit`` holds the autograd nodes that the rules are made of; ``pass_``
holds what is known of the tensors of one forward pass.
"""
