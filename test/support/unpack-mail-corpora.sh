#!/bin/sh
# Unpacks mails that other people's parsers are tested with, out of Debian's packages and into ./data, for
# test/mime/foreign-corpora.test.ts. Nothing is installed. Needs no root, and package lists that are up to date.
set -eu
cd "$(dirname "$0")/../.."
folder=data/mail-corpora
[ -d "$folder" ] && exit 0
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
# Its name has Python's version, which is another in each release.
python=$(apt-cache search --names-only '^libpython3\.[0-9]+-testsuite$' | sort -V | sed -n '$s/ .*//p')
mkdir "$work/packages" "$work/tree"
# shellcheck disable=SC2086
(cd "$work/packages" && apt-get download -q $python golang-github-jhillyerd-enmime-dev python3-flufl.bounce spamassassin)
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
# The mails alone: the packages are programs that nobody is to find here.
take() {
  mkdir "$work/tree/$1"
  find "$work/unpacked" -path "$2" -type f -exec cp {} "$work/tree/$1" \;
}
take python '*/test_email/data/msg_*.txt'
take enmime '*/enmime/testdata/*.raw'
take flufl-bounce '*/flufl/bounce/tests/data/*.txt'
take spamassassin '*/spamassassin/examples/sample-*.txt'
mv -T "$work/tree" "$folder"
