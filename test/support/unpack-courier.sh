#!/bin/sh
# Unpacks Courier's POP3 server from the machine's own apt sources into ./data, for test/support/courier.ts. Nothing is
# installed: its package conflicts with Dovecot's. Needs no root, and package lists that are up to date (apt-get update).
set -eu
cd "$(dirname "$0")/../.."
folder=data/test-servers/courier
[ -d "$folder" ] && exit 0
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
wanted='courier-pop courier-base courier-authlib courier-authdaemon courier-authlib-userdb'
# "Inst NAME (VERSION ...)" is a package that an installation would add, "Inst NAME [OLD] (VERSION ...)" one that is there.
# shellcheck disable=SC2086
libraries=$(LC_ALL=C apt-get install --simulate --no-install-recommends $wanted | sed -n 's/^Inst \(lib[^ ]*\) (.*/\1/p')
mkdir "$work/packages" "$work/tree"
# shellcheck disable=SC2086
(cd "$work/packages" && apt-get download -q $wanted $libraries)
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
mv -T "$work/tree" "$folder"
