# SPDX-License-Identifier: Apache-2.0
"""The process that owns the GPU: socket server, job journal, artifact store and the worker."""
