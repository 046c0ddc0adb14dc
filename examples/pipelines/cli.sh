#!/bin/sh
# One release from a pipeline, with the command line. Usage: cli.sh ID VERSION HEALTH_FILE DEPLOY...
# ID is the pipeline's own, so that a job that is run again finds its release. The exit code is the
# outcome: 0 passed, 3 rolled back, 4 rollback failed, 5 inconclusive, 6 gave up waiting, 7 not
# reachable, 8 breached; 1 and 9 anything else. Killed, it leaves the release to Gatekeeper.
#
# GATEKEEPER_URL, GATEKEEPER_TOKEN   where and who
# IF_UNREACHABLE=fail|continue       what to do without Gatekeeper; continue: deploy unwatched
# IF_INCONCLUSIVE=fail|pass          what a release means of which nothing can be told
set -eu
id=$1 version=$2 health=$3 away=${IF_UNREACHABLE:-fail}
shift 3

# Pins what to return to. Its answer is another id where the same version is open already.
id=$(gatekeeper release open --id "$id" --version "$version" -f "$health" --heartbeat 2m --if-unreachable "$away")
while gatekeeper release heartbeat "$id" --if-unreachable continue; do sleep 30; done >/dev/null 2>&1 &
beats=$!
trap 'kill "$beats" 2>/dev/null || :' EXIT
"$@" || { # the deployment itself failed: end the release, it has nothing to watch
	gatekeeper release close "$id" --why "the deployment failed" --if-unreachable "$away"
	exit 1
}
gatekeeper release deployed "$id" --if-unreachable "$away" || [ $? = 9 ] # the window begins; 9: it is taken back already

code=0
gatekeeper release wait "$id" --timeout 1h --if-unreachable "$away" || code=$?
[ "$code${IF_INCONCLUSIVE:-fail}" = 5pass ] || exit "$code"
