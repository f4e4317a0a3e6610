# SPDX-License-Identifier: Apache-2.0
"""Measurements: run by hand, no part of the tests."""
