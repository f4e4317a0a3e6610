# SPDX-License-Identifier: Apache-2.0
"""Models of others: where they lie, what they are, and how they are read."""
