"""``altprop demo``: in two minutes, what altprop is for, with figures of the run itself.

``running`` trains and explains, ``seen`` says what came out, ``page`` draws it.
"""
