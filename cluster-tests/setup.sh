#!/bin/sh
# Installs what the real-process tests need beyond Rust and a C compiler: SIPp (the client under
# load), baresip (a softphone), nftables, iproute2 and util-linux (`unshare`), for the network that a
# test cuts. Debian and Ubuntu. Does nothing where all of it is there.
set -eu

missing=
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need sipp sip-tester
need baresip baresip-core
need nft nftables
need ip iproute2
need unshare util-linux
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: please install:$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "setup: run as root, or: apt-get install$missing" >&2
        exit 1
    }
    sudo=sudo
fi
echo "setup: installing$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
