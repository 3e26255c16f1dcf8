# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that need an API server of their own: plain processes on loopback, no kubelet."""
