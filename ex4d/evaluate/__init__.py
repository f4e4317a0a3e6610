# SPDX-License-Identifier: Apache-2.0
"""Measuring how good results are."""
