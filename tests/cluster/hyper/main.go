// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

// Command hyper is every server of a test cluster in one binary, chosen by the name it is called by
// (`ln -s hyper kube-apiserver`) or by its first argument (`hyper kube-apiserver ...`).
// One binary shares its code pages between all servers of all clusters, and links once.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"gatefleet.dev/tests/cluster/loadbalancer"
)

var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          func() *cobra.Command { return apiserver.NewAPIServerCommand() },
	"kube-controller-manager": func() *cobra.Command { return controllers.NewControllerManagerCommand() },
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              func() *cobra.Command { return proxy.NewProxyCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":                 func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() },
	"load-balancer":           loadbalancer.NewCommand,
}

func main() {
	os.Args[0] = filepath.Base(os.Args[0])
	if !known(os.Args[0]) {
		os.Args = os.Args[1:]
	}
	if len(os.Args) == 0 || !known(os.Args[0]) {
		fmt.Fprintf(os.Stderr, "usage: hyper %s [arguments]\n", strings.Join(names(), "|"))
		os.Exit(2)
	}
	if os.Args[0] == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	os.Exit(cli.Run(commands[os.Args[0]]()))
}

func known(name string) bool {
	return slices.Contains(names(), name)
}

func names() []string {
	all := []string{"etcd"}
	for name := range commands {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
