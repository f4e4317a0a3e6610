# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 (Lin et al., 2025, arXiv 2511.10647) through its own package. Importing this loads no torch.

The package asks for forty others, some of which would replace what is installed here (numpy below 2, another OpenCV).
Its networks need three small ones alone, and only they are imported: it is installed without what it asks for.
"""

from ex4d.depth.da3.estimator import DepthAnything3

__all__ = ["DepthAnything3"]
