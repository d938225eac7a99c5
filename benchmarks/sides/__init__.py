"""What is measured: a module a library, each loaded in a process of its own by `side.py`.

Each has `CASES`: a function by name that takes the sizes of a case and returns the call to time;
`set_threads`; and `verify`, which says what will really run.
"""
