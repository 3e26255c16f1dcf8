// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

// A stock go-control-plane server with a snapshot cache. Each line of its input is a snapshot in protobuf's JSON form:
// {"node": "n", "version": "1", "resources": {"clusters": [...], "endpoints": [...], "listeners": [...], "routes": [...], "secrets": [...]}}.
// It prints its address first, then a line of JSON for each snapshot that was set and for each answer of a client.
// With the arguments `record ADDRESS NODE.json` it prints what another control plane has for a node, in the same form.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"sync"

	_ "github.com/cncf/xds/go/udpa/type/v1"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	_ "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"
	_ "istio.io/api/envoy/extensions/stats"
)

const longestLine = 64 << 20

var (
	printing sync.Mutex
	messages = map[string]struct {
		kind resource.Type
		make func() proto.Message
	}{
		"clusters":  {resource.ClusterType, func() proto.Message { return &cluster.Cluster{} }},
		"endpoints": {resource.EndpointType, func() proto.Message { return &endpoint.ClusterLoadAssignment{} }},
		"listeners": {resource.ListenerType, func() proto.Message { return &listener.Listener{} }},
		"routes":    {resource.RouteType, func() proto.Message { return &route.RouteConfiguration{} }},
		"secrets":   {resource.SecretType, func() proto.Message { return &tls.Secret{} }},
	}
)

type snapshot struct {
	Node      string
	Version   string
	Resources map[string][]json.RawMessage
}

func tell(event map[string]string) {
	text, err := json.Marshal(event)
	if err != nil {
		log.Fatal(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

func answered(kind, nonce, version string, failed string) {
	if nonce == "" {
		return
	}
	event := map[string]string{"event": "ack", "type": kind, "version": version}
	if failed != "" {
		event["event"], event["message"] = "nack", failed
	}
	tell(event)
}

func callbacks() server.Callbacks {
	return server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discovery.DiscoveryRequest) error {
			answered(r.GetTypeUrl(), r.GetResponseNonce(), r.GetVersionInfo(), r.GetErrorDetail().GetMessage())
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discovery.DeltaDiscoveryRequest) error {
			answered(r.GetTypeUrl(), r.GetResponseNonce(), "", r.GetErrorDetail().GetMessage())
			return nil
		},
	}
}

func set(snapshots cache.SnapshotCache, line []byte) error {
	var written snapshot
	if err := json.Unmarshal(line, &written); err != nil {
		return err
	}
	resources := map[resource.Type][]types.Resource{}
	for name, list := range written.Resources {
		message, ok := messages[name]
		if !ok {
			return fmt.Errorf("no type %q", name)
		}
		for _, text := range list {
			made := message.make()
			if err := protojson.Unmarshal(text, made); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			resources[message.kind] = append(resources[message.kind], made)
		}
	}
	made, err := cache.NewSnapshot(written.Version, resources)
	if err != nil {
		return err
	}
	if err := snapshots.SetSnapshot(context.Background(), written.Node, made); err != nil {
		return err
	}
	tell(map[string]string{"event": "set", "version": written.Version})
	return nil
}

type byID struct{}

func (byID) ID(node *core.Node) string { return node.GetId() }

func main() {
	if len(os.Args) == 4 && os.Args[1] == "record" {
		if err := record(os.Args[2], os.Args[3]); err != nil {
			log.Fatal(err)
		}
		return
	}
	snapshots := cache.NewSnapshotCache(true, byID{}, nil)
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(served, server.NewServer(context.Background(), snapshots, callbacks()))
	go func() { log.Fatal(served.Serve(listening)) }()
	tell(map[string]string{"event": "serving", "address": listening.Addr().String()})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		if err := set(snapshots, lines.Bytes()); err != nil {
			tell(map[string]string{"event": "error", "message": err.Error()})
		}
	}
}
