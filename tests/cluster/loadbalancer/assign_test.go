// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var pool = netip.MustParsePrefix("10.221.0.0/24")

func service(name string, age int, edit func(*corev1.Service)) *corev1.Service {
	born := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Duration(age) * time.Minute)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(born)}}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	if edit != nil {
		edit(s)
	}
	return s
}

func has(address string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	}
}

func asks(address string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = address }
}

func decide(services ...*corev1.Service) map[string]Decision {
	decisions := map[string]Decision{}
	for _, decision := range Assign(services, pool) {
		decisions[decision.Service.Name] = decision
	}
	return decisions
}

func TestEachServiceGetsItsOwnAddressUntilTheRangeIsFull(t *testing.T) {
	var services []*corev1.Service
	for i := range 255 {
		services = append(services, service(fmt.Sprintf("s%03d", i), 300-i, nil))
	}
	seen := map[netip.Addr]bool{}
	for _, decision := range Assign(services, pool) {
		if seen[decision.Address] && decision.Address.IsValid() {
			t.Fatalf("%s was given twice", decision.Address)
		}
		seen[decision.Address] = true
	}
	if delete(seen, netip.Addr{}); len(seen) != 254 {
		t.Fatalf("%d addresses given, want 254", len(seen))
	}
	if last := decide(services...)["s254"]; last.Problem == "" {
		t.Fatal("the Service without address has no reason")
	}
}

func TestTheSameServicesGetTheSameAddresses(t *testing.T) {
	one := decide(service("a", 2, nil), service("b", 1, nil))
	two := decide(service("b", 1, nil), service("a", 2, nil))
	for name := range one {
		if one[name].Address != two[name].Address {
			t.Errorf("%s: %s, then %s", name, one[name].Address, two[name].Address)
		}
	}
}

func TestAnAddressIsKeptAcrossRestarts(t *testing.T) {
	got := decide(service("old", 9, has("10.221.0.77")), service("new", 1, asks("10.221.0.77")))
	if got["old"].Address.String() != "10.221.0.77" || got["new"].Address.IsValid() || got["new"].Problem == "" {
		t.Errorf("got %+v", got)
	}
}

func TestAnAskedAddressIsGivenOrRefused(t *testing.T) {
	got := decide(service("in", 1, asks("10.221.0.9")), service("out", 1, asks("192.0.2.1")), service("bad", 1, asks("nine")), service("net", 1, asks("10.221.0.0")))
	if got["in"].Address.String() != "10.221.0.9" {
		t.Errorf("in: %+v", got["in"])
	}
	for _, name := range []string{"out", "bad", "net"} {
		if got[name].Address.IsValid() || got[name].Problem == "" {
			t.Errorf("%s: %+v", name, got[name])
		}
	}
}

func TestAskingForAnotherAddressMovesTheService(t *testing.T) {
	moved := service("moved", 1, has("10.221.0.5"))
	moved.Spec.LoadBalancerIP = "10.221.0.6"
	if got := decide(moved)["moved"]; got.Address.String() != "10.221.0.6" {
		t.Errorf("got %+v", got)
	}
}

func TestTwoServicesWithOneAddressLeaveItToTheOlder(t *testing.T) {
	got := decide(service("young", 1, has("10.221.0.5")), service("old", 2, has("10.221.0.5")))
	if got["old"].Address.String() != "10.221.0.5" || got["young"].Address == got["old"].Address || !got["young"].Address.IsValid() {
		t.Errorf("got %+v", got)
	}
}

func TestOtherServicesAreLeftAlone(t *testing.T) {
	class := "other.example/class"
	foreign := service("foreign", 1, has("192.0.2.7"))
	foreign.Spec.LoadBalancerClass = &class
	plain := service("plain", 1, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	former := service("former", 1, has("10.221.0.5"))
	former.Spec.Type = corev1.ServiceTypeClusterIP
	got := decide(foreign, plain, former)
	if len(got) != 1 || got["former"].Address.IsValid() {
		t.Errorf("got %+v", got)
	}
}
