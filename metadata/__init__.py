"""Finds what is wrong with the pack's metadata, before StackStorm refuses it or, worse, silently takes it.

A tool for developers: ``python -m metadata`` (part of ``make check``). It needs no StackStorm.
Every rule names where it comes from; "st2" is the StackStorm/st2 repository, "forms" is what st2web was seen to do.
"""
