# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Real Kubernetes clusters on one machine, each in a network namespace of its own."""
