#!/bin/sh
# All tests, on a fresh machine: installs what they need, then runs them. Arguments go to cargo.
set -eu
cd "$(dirname "$0")"
./cluster-tests/setup.sh
# nft and ip live in sbin, which is not in every user's path.
PATH="$PATH:/usr/sbin:/sbin"
export PATH
exec cargo test --workspace "$@"
