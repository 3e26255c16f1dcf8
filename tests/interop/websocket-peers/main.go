// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

// WebSocket clients and servers of three libraries. `serve ADDRESS [CERTIFICATE KEY]` answers under /gorilla and /coder;
// `ask CLIENT URL [ROOTS NAME]` runs every case against a server and prints a line of JSON for each.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"
)

// Time for one case.
const limit = 20 * time.Second

// A client of one library.
type client interface {
	// Opens a connection; protocols and compression are asked for in the handshake.
	dial(protocols []string, compress bool) (connection, error)
}

// A connection of one library.
type connection interface {
	// Sends a message in so many fragments.
	send(kind int, message []byte, fragments int) error
	receive() (kind int, message []byte, err error)
	// Waits for the answer to a ping.
	ping() error
	// Closes by handshake, and gives back what the other side says.
	close(code int, reason string) error
	// What the server chose.
	protocol() string
	compressed() bool
	// Breaks off without a goodbye.
	drop()
}

const (
	text   = 1
	binary = 2
)

func main() {
	arguments := os.Args[1:]
	if len(arguments) >= 2 && arguments[0] == "serve" {
		log.Fatal(serve(arguments[1], arguments[2:]))
	}
	if len(arguments) < 3 || arguments[0] != "ask" {
		log.Fatal("usage: serve ADDRESS [CERTIFICATE KEY] | ask CLIENT URL [ROOTS NAME]")
	}
	settings, err := trust(arguments[3:])
	if err != nil {
		log.Fatal(err)
	}
	var peer client
	switch arguments[1] {
	case "gorilla":
		peer = gorillaClient{arguments[2], settings}
	case "coder":
		peer = coderClient{arguments[2], settings}
	case "gobwas":
		peer = gobwasClient{arguments[2], settings}
	default:
		log.Fatalf("no client %q", arguments[1])
	}
	ask(peer, arguments[1])
}

func trust(arguments []string) (*tls.Config, error) {
	if len(arguments) != 2 {
		return nil, nil
	}
	pem, err := os.ReadFile(arguments[0])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", arguments[0])
	}
	return &tls.Config{RootCAs: roots, ServerName: arguments[1]}, nil
}

// Runs all cases; each prints one line.
func ask(peer client, name string) {
	for _, one := range cases {
		if one.skips[name] {
			continue
		}
		done := make(chan error, 1)
		go func() { done <- one.run(peer) }()
		var err error
		select {
		case err = <-done:
		case <-time.After(limit):
			err = fmt.Errorf("not over after %s", limit)
		}
		line := map[string]string{"case": one.name}
		if err != nil {
			line["error"] = err.Error()
		}
		out, _ := json.Marshal(line)
		fmt.Println(string(out))
	}
}
