# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of movies (through the ffmpeg that imageio-ffmpeg brings) and of image sequences."""
