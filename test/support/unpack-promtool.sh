#!/bin/sh
# Unpacks promtool, which evaluates Prometheus's rules, from Debian's package into ./data, for test/helm/alerts.test.ts. Nothing is
# installed: the package would start a server. Needs no root, and package lists that are up to date (apt-get update).
set -eu
cd "$(dirname "$0")/../.."
folder=data/test-servers/promtool
[ -d "$folder" ] && exit 0
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -q prometheus)
mkdir "$work/tree"
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work/tree" ./usr/bin/promtool
mv -T "$work/tree/usr/bin" "$folder"
