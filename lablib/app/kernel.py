"""The kernel of a notebook: ipykernel, which keeps what a cell prints until it is read, however much that is."""

import os
import sys

if __name__ == "__main__":
    if sys.path[0] in ("", os.getcwd()):  # no file beside the notebook hides a module that is needed to begin
        del sys.path[0]
    from ipykernel.kernelapp import IPKernelApp

    class Kernel(IPKernelApp):
        """ipykernel's own, but that its queue of outputs has no end: what does not fit in would be dropped."""

        def init_iopub(self, context):
            context.sndhwm = 0  # of the sockets that are made from now on
            super().init_iopub(context)

    Kernel.launch_instance()
