# SPDX-License-Identifier: Apache-2.0
"""What an artist knows of a shot, and depth that is fitted to it."""
