#!/bin/sh
# One release from a pipeline, with the command line. Usage: cli.sh ID VERSION HEALTH_FILE DEPLOY...
# ID is the pipeline's own, so that a job that is run again finds its release. The exit code is the
# outcome: 0 passed, 3 rolled back, 4 rollback failed, 5 inconclusive, 8 breached, 7 not reachable.
# GATEKEEPER_URL and GATEKEEPER_TOKEN say where and who.
set -eu
id=$1 version=$2 health=$3
shift 3

gatekeeper release open --id "$id" --version "$version" -f "$health" # pins what to return to
"$@" || { # the deployment itself failed: end the release, it has nothing to watch
	gatekeeper release close "$id" --why "the deployment failed"
	exit 1
}
gatekeeper release deployed "$id" # the window begins
gatekeeper release wait "$id"
