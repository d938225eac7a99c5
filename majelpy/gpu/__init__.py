"""Kernels on a GPU: compiled by NVRTC, cached, launched.

Policy. `nvrtc` compiles, `build` keeps cubins, `dense`, `sums`, `recurrent`, `sequences` and
`standard` turn an entry point of kernels/entry_points.h into launches, `device` is the only module
here that imports CuPy. A launch knows no CuPy: it speaks to a `launcher.Launcher`, so tests run the
same launches on an emulation of blocks and threads on the CPU.
"""
