// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	manager "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const patience = 20 * time.Second

// record asks a control plane at address for everything that it has for a node, by ADS, and prints it in the form in which this program reads
// a snapshot's resources. node is a file with the node in protobuf's JSON form.
func record(address, node string) error {
	text, err := os.ReadFile(node)
	if err != nil {
		return err
	}
	who := &core.Node{}
	if err := protojson.Unmarshal(text, who); err != nil {
		return err
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	within, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).StreamAggregatedResources(within)
	if err != nil {
		return err
	}
	recorded := map[string][]json.RawMessage{}
	names := map[string][]string{}
	for _, kind := range []string{"clusters", "endpoints", "listeners", "routes"} {
		wanted := names[kind]
		if (kind == "endpoints" || kind == "routes") && len(wanted) == 0 {
			continue
		}
		request := &discovery.DiscoveryRequest{Node: who, TypeUrl: messages[kind].kind, ResourceNames: wanted}
		if err := stream.Send(request); err != nil {
			return err
		}
		answer, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		for _, resource := range answer.GetResources() {
			made := messages[kind].make()
			if err := resource.UnmarshalTo(made); err != nil {
				return err
			}
			follow(names, made)
			written, err := protojson.Marshal(made)
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			recorded[kind] = append(recorded[kind], written)
		}
		request.VersionInfo, request.ResponseNonce = answer.GetVersionInfo(), answer.GetNonce()
		if err := stream.Send(request); err != nil {
			return err
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(recorded)
}

// follow notes the names that a resource asks for.
func follow(names map[string][]string, made proto.Message) {
	switch made := made.(type) {
	case *cluster.Cluster:
		if made.GetType() == cluster.Cluster_EDS {
			name := made.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = made.GetName()
			}
			names["endpoints"] = append(names["endpoints"], name)
		}
	case *listener.Listener:
		for _, chain := range append(made.GetFilterChains(), made.GetDefaultFilterChain()) {
			for _, filter := range chain.GetFilters() {
				http := &manager.HttpConnectionManager{}
				if filter.GetTypedConfig().UnmarshalTo(http) == nil && http.GetRds() != nil {
					names["routes"] = append(names["routes"], http.GetRds().GetRouteConfigName())
				}
			}
		}
	case *route.RouteConfiguration:
	}
	sort.Strings(names["routes"])
}
