#!/bin/sh
# Unpacks Valkey from Debian's packages into ./data, for test/support/valkey.ts: from the release's own, or from its backports, whose list
# is fetched for this alone. Nothing is installed. Needs no root, and package lists that are up to date (apt-get update).
set -eu
cd "$(dirname "$0")/../.."
folder=data/test-servers/valkey
[ -d "$folder" ] && exit 0
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
work=$(cd "$work" && pwd)
mkdir -p "$work/packages" "$work/tree" "$work/lists/partial" "$work/cache/archives/partial"
. /etc/os-release
# Where the machine has its packages from: the backports are beside them.
from=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' | sed -n "s/ $VERSION_CODENAME\$//p" | head -n 1)
cat >"$work/sources.list" <<END
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $VERSION_CODENAME main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $VERSION_CODENAME-backports main
END
private() {
  apt-get -q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" "$@"
}
private update
# What valkey-tools needs and a small machine may be without.
(cd "$work/packages" && private download valkey-server valkey-tools libatomic1 libjemalloc2 liblzf1)
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
libraries=$(cd "$work/tree" && find . -name '*.so*' -exec dirname {} + | sort -u | sed 's|^\.|$here|' | paste -sd: -)
cat >"$work/tree/valkey-server" <<END
#!/bin/sh
here=\$(CDPATH= cd -- "\$(dirname -- "\$0")" && pwd) || exit 1
LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "\$here/usr/bin/valkey-server" "\$@"
END
chmod +x "$work/tree/valkey-server"
"$work/tree/valkey-server" --version
mv -T "$work/tree" "$folder"
