"""Small runs whose tables and keys are written down, so that a change of the code's shape is seen to change no result.

`python -m golden` writes them anew, where a change of results is meant. They are compared on the kind of machine that
wrote them alone: another processor adds up in another order.
"""
