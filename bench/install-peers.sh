#!/bin/sh
# Installs the peers that "cairnbench -peers" measures, from Debian.
set -eu
if command -v etcd >/dev/null 2>&1; then
	etcd --version | head -n 1
	exit 0
fi
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends etcd-server etcd-client
etcd --version | head -n 1
