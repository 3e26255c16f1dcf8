#!/bin/sh
# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
# Installs what the clusters and tests need from the distribution: `setup.sh`, or `setup.sh --check` to only look.
# `setup.sh --bench` installs the peers of `make bench` as well, which no test needs.
# Everything else is built from Go, Rust and Python packages on first use (tests/setup/tool).
set -eu

packages="containerd runc containernetworking-plugins nftables iptables conntrack iproute2 util-linux procps docker-registry
openssl ca-certificates curl jq wrk nghttp2-client wabt binutils gcc libc6-dev python3 git make"

# name of a program, and the package that brings it
commands="containerd:containerd ctr:containerd runc:runc nft:nftables iptables:iptables conntrack:conntrack ip:iproute2
nsenter:util-linux sysctl:procps docker-registry:docker-registry openssl:openssl curl:curl jq:jq wrk:wrk
h2load:nghttp2-client wat2wasm:wabt strip:binutils gcc:gcc python3:python3 git:git make:make"

if [ "${1:-}" = --bench ]; then
  shift
  packages="$packages nginx haproxy"
  commands="$commands nginx:nginx haproxy:haproxy"
fi

PATH="$PATH:/usr/sbin:/sbin"

missing_packages() {
  for pair in $commands; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || echo "${pair##*:}"
  done
  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || echo containernetworking-plugins
  [ -s /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
  # A static C program needs the static library, which no command tells of.
  find /usr/lib -maxdepth 2 -name libc.a 2>/dev/null | grep -q . || echo libc6-dev
}

# Package scripts start their services unless this file forbids it; the harness runs its own and must find the ports free.
forbid_services() {
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
}

# A service that this script installed must not come up with the next boot either.
disable_services() {
  command -v systemctl >/dev/null 2>&1 || return 0
  for package in $1; do
    case $package in
      containerd | docker-registry | nginx | haproxy) systemctl disable "$package" >/dev/null 2>&1 || true ;;
    esac
  done
}

toolchains() {
  for program in go cargo npm; do
    command -v "$program" >/dev/null 2>&1 || echo "note: no $program in PATH; the tests that are written for it will not build"
  done
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || echo "note: python3 is older than 3.11, which the harness needs"
}

missing=$(missing_packages | sort -u | tr '\n' ' ')
if [ -z "$missing" ]; then
  echo "nothing is missing"
  toolchains
  exit 0
fi
if [ "${1:-}" = --check ]; then
  echo "missing: $missing"
  exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "this is neither Debian nor Ubuntu; install what these packages bring: $missing"
  printf "all that is needed:\n%s\n" "$packages"
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "run as root to install: $missing"
  exit 1
fi
echo "installing: $missing"
export DEBIAN_FRONTEND=noninteractive
forbid_services
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold $missing </dev/null
disable_services "$missing"
left=$(missing_packages | sort -u | tr '\n' ' ')
if [ -n "$left" ]; then
  echo "still missing after the installation: $left"
  exit 1
fi
toolchains
echo "everything is installed"
