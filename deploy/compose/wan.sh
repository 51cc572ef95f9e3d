#!/bin/sh
# Makes the way to a peer as long as that from Frankfurt to Singapore: `sh wan.sh PEER`. Each end does so, which makes a round
# trip of 160 ms. Needs NET_ADMIN, and sch_netem in the kernel of the host.
set -eu
apk add --quiet iproute2
until address=$(getent hosts "$1"); do sleep 1; done
device=$(ip -o route get "${address%% *}" | sed 's/.* dev \([^ ]*\) .*/\1/')
tc qdisc replace dev "$device" root netem delay 80ms loss 0.5% limit 100000
exec sleep infinity
