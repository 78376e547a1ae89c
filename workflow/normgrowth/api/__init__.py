"""The library that users call as `import normgrowth`: thin functions over what the commands use.

`normgrowth/__init__.py` names them and imports a module of this room when one of its names is first used.
"""
