// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

// Package loadbalancer gives each Service of type LoadBalancer an address of a range that is routed to its cluster.
// kube-proxy does the rest: it answers on every address that a Service's status names.
package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

const retryAfter = time.Second

type controller struct {
	client  kubernetes.Interface
	lister  listers.ServiceLister
	events  record.EventRecorder
	pool    netip.Prefix
	changed chan struct{}
}

// NewCommand is the command line: `load-balancer --kubeconfig FILE --range CIDR`.
func NewCommand() *cobra.Command {
	var kubeconfig, pool string
	command := &cobra.Command{
		Use:          "load-balancer",
		Short:        "Give Services of type LoadBalancer addresses of a range",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			prefix, err := netip.ParsePrefix(pool)
			if err != nil || !prefix.Addr().Is4() || prefix.Bits() < 8 || prefix.Bits() > 30 {
				return fmt.Errorf("--range must be an IPv4 range between /8 and /30, not %q", pool)
			}
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return Run(command.Context(), client, prefix)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file that names the cluster")
	command.Flags().StringVar(&pool, "range", "", "addresses to give out, in CIDR form")
	return command
}

// Run serves one cluster until the context ends.
func Run(ctx context.Context, client kubernetes.Interface, pool netip.Prefix) error {
	if ctx == nil {
		ctx = context.Background()
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typed.EventSinkImpl{Interface: client.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	c := &controller{
		client:  client,
		lister:  factory.Core().V1().Services().Lister(),
		events:  broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "load-balancer"}),
		pool:    pool,
		changed: make(chan struct{}, 1),
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.wake() },
		UpdateFunc: func(_, _ any) { c.wake() },
		DeleteFunc: func(any) { c.wake() },
	}
	if _, err := factory.Core().V1().Services().Informer().AddEventHandler(handler); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
			if err := c.sync(ctx); err != nil {
				klog.ErrorS(err, "status not written, will retry", "after", retryAfter)
				time.AfterFunc(retryAfter, c.wake)
			}
		}
	}
}

// wake never blocks: one pending wake-up covers any number of changes, because a sync looks at everything.
func (c *controller) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *controller) sync(ctx context.Context) error {
	services, err := c.lister.List(labels.Everything())
	if err != nil {
		return err
	}
	var failed error
	for _, decision := range Assign(services, c.pool) {
		if err := c.apply(ctx, decision); err != nil && !errors.IsNotFound(err) {
			failed = err
		}
	}
	return failed
}

func (c *controller) apply(ctx context.Context, decision Decision) error {
	if decision.Problem != "" {
		c.events.Event(decision.Service, corev1.EventTypeWarning, "AddressUnavailable", decision.Problem)
	}
	if current(decision.Service) == decision.Address {
		return nil
	}
	update := decision.Service.DeepCopy()
	update.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	if decision.Address.IsValid() {
		mode := corev1.LoadBalancerIPModeVIP
		update.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: decision.Address.String(), IPMode: &mode}}
	}
	// The update carries the resourceVersion that was decided on: a stale decision is refused and made anew.
	_, err := c.client.CoreV1().Services(update.Namespace).UpdateStatus(ctx, update, metav1.UpdateOptions{})
	if err == nil {
		klog.InfoS("address set", "service", klog.KObj(update), "address", decision.Address.String())
	}
	return err
}
