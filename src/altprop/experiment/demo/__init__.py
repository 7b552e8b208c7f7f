"""``altprop demo``: in two minutes, what altprop is for, with figures of the run itself.

``results`` is what comes out, ``running`` trains and explains, ``seen`` says what came out, ``page`` draws it.
"""
