# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The peer benchmark: the gateway beside Envoy, nginx, HAProxy and a bare forwarder, the same load in the same run."""
