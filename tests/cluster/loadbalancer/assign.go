// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Decision is what one Service shall have: an address, or the reason why it has none.
type Decision struct {
	Service *corev1.Service
	Address netip.Addr
	Problem string
}

// Assign decides the addresses of all Services of type LoadBalancer. It is a pure function of the objects:
// their status is the only memory, so a restarted controller decides the same.
func Assign(services []*corev1.Service, pool netip.Prefix) []Decision {
	ordered := slices.Clone(services)
	slices.SortFunc(ordered, older)
	taken := map[netip.Addr]string{}
	decided := map[*corev1.Service]Decision{}
	// Addresses in use come first, then asked ones, then the rest: nobody loses an address to a newcomer.
	for _, pass := range []func(*corev1.Service) Decision{
		func(s *corev1.Service) Decision { return keep(s, pool, taken) },
		func(s *corev1.Service) Decision { return asked(s, pool, taken) },
		func(s *corev1.Service) Decision { return anyFree(s, pool, taken) },
	} {
		for _, service := range ordered {
			if _, done := decided[service]; done || !wanted(service) {
				continue
			}
			if decision := pass(service); decision.Address.IsValid() || decision.Problem != "" {
				decided[service] = decision
				if decision.Address.IsValid() {
					taken[decision.Address] = name(service)
				}
			}
		}
	}
	var decisions []Decision
	for _, service := range ordered {
		if decision, ok := decided[service]; ok {
			decisions = append(decisions, decision)
		} else if service.Spec.Type != corev1.ServiceTypeLoadBalancer && current(service).IsValid() {
			// Its type was changed: the address goes back.
			decisions = append(decisions, Decision{Service: service})
		}
	}
	return decisions
}

// wanted tells whether this controller is in charge: another class names another controller.
func wanted(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		service.Spec.LoadBalancerClass == nil &&
		service.DeletionTimestamp == nil
}

// keep confirms the address that a Service has, unless it asks for another one or an older Service has the same.
func keep(service *corev1.Service, pool netip.Prefix, taken map[netip.Addr]string) Decision {
	address := current(service)
	if !address.IsValid() || !usable(address, pool) || taken[address] != "" {
		return Decision{}
	}
	if want := service.Spec.LoadBalancerIP; want != "" && want != address.String() {
		return Decision{}
	}
	return Decision{Service: service, Address: address}
}

// asked serves spec.loadBalancerIP; an address that cannot be had leaves the Service pending, as in a real cloud.
func asked(service *corev1.Service, pool netip.Prefix, taken map[netip.Addr]string) Decision {
	want := service.Spec.LoadBalancerIP
	if want == "" {
		return Decision{}
	}
	address, err := netip.ParseAddr(want)
	switch {
	case err != nil || !usable(address, pool):
		return Decision{Service: service, Problem: fmt.Sprintf("%s is not an address of %s", want, pool)}
	case taken[address] != "":
		return Decision{Service: service, Problem: fmt.Sprintf("%s belongs to Service %s", want, taken[address])}
	}
	return Decision{Service: service, Address: address}
}

// anyFree starts at a hash of the name, so that the same Services get the same addresses in every run.
func anyFree(service *corev1.Service, pool netip.Prefix, taken map[netip.Addr]string) Decision {
	size := uint32(1) << (pool.Addr().BitLen() - pool.Bits())
	hash := fnv.New32a()
	hash.Write([]byte(name(service)))
	start := hash.Sum32() % size
	for step := range size {
		address := nth(pool, (start+step)%size)
		if usable(address, pool) && taken[address] == "" {
			return Decision{Service: service, Address: address}
		}
	}
	return Decision{Service: service, Problem: fmt.Sprintf("no address of %s is free", pool)}
}

// usable leaves out the first and last address (network and broadcast).
func usable(address netip.Addr, pool netip.Prefix) bool {
	size := uint32(1) << (pool.Addr().BitLen() - pool.Bits())
	return pool.Contains(address) && address != nth(pool, 0) && address != nth(pool, size-1)
}

func nth(pool netip.Prefix, index uint32) netip.Addr {
	bytes := pool.Masked().Addr().As4()
	value := uint32(bytes[0])<<24 | uint32(bytes[1])<<16 | uint32(bytes[2])<<8 | uint32(bytes[3])
	value += index
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)})
}

func current(service *corev1.Service) netip.Addr {
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address, err := netip.ParseAddr(ingress.IP); err == nil {
			return address
		}
	}
	return netip.Addr{}
}

func name(service *corev1.Service) string {
	return service.Namespace + "/" + service.Name
}

func older(a, b *corev1.Service) int {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order
	}
	if name(a) < name(b) {
		return -1
	}
	return 1
}
