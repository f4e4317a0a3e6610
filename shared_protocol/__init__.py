# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire between the Blender extension and the backend.

Importing the package imports nothing heavy; `errors` and `moves` need the standard library alone.
"""
