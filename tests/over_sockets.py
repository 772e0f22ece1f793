"""A plugin for nbval: its kernels are spoken to through files in the working folder, as those of `lab run` are.

A TCP port that is free when it is chosen may be taken by another test's kernel before the kernel listens.
"""

from jupyter_client.manager import KernelManager

KernelManager.transport.default_value = "ipc"
