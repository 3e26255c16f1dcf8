// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

package conformance

// Keeps the modules of echo-basic (a main package) and of the CRDs in go.mod.
import (
	_ "sigs.k8s.io/gateway-api-conformance-images/echo-basic"
	_ "sigs.k8s.io/gateway-api/apis/v1"
)
