#!/bin/sh
# One release from a pipeline, with curl alone. Usage: curl.sh ID VERSION HEALTH_FILE DEPLOY...
# HEALTH_FILE is the name of one in the daemon's folder health_files; no argument may need escaping in
# JSON. Exit codes and environment as in cli.sh.
set -eu
id=$1 version=$2 health=$3 away=${IF_UNREACHABLE:-fail}
shift 3
releases=${GATEKEEPER_URL:-http://127.0.0.1:9095}/api/v1/releases
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

call() { # leaves the answer in $answer; 1: refused, 7: not reachable, 9: not in a state for it
	status=$(printf 'header = "Authorization: Bearer %s"\n' "${GATEKEEPER_TOKEN:-}" | # not where ps shows it
		curl --config - --silent --show-error --output "$answer" --write-out '%{http_code}' --max-time 600 \
			--retry 6 --retry-connrefused --header 'Content-Type: application/json' "$@") || return 7
	case $status in
	2??) return 0 ;;
	409) code=9 ;;
	502 | 503 | 504) code=7 ;;
	*) code=1 ;;
	esac
	cat "$answer" >&2
	echo >&2
	return "$code"
}

step() {
	call "$@" && return
	code=$?
	[ "$code" != 7 ] || echo "Gatekeeper can't be reached" >&2
	[ "$code$away" = 7continue ] || exit "$code"
	echo "warning: going on, the version is not watched" >&2
}

beat() { call --data '{}' "$releases/$id/heartbeat" || [ $? = 7 ]; }

step --data "{\"id\":\"$id\",\"version\":\"$version\",\"health_file\":\"$health\",\"heartbeat\":\"2m\"}" "$releases"
open=$(sed -n 's/^{[^{]*"id":"\([A-Za-z0-9._-]*\)".*/\1/p' "$answer")
id=${open:-$id} # another one where the same version is open already
(
	answer=/dev/null
	while beat; do sleep 30; done
) >/dev/null 2>&1 &
beats=$!
trap 'kill "$beats" 2>/dev/null || :; rm -f "$answer"' EXIT
"$@" || {
	step --data '{"why":"the deployment failed"}' "$releases/$id/close"
	exit 1
}
(step --data '{}' "$releases/$id/deployed") || [ $? = 9 ] # the window begins; 9: it is taken back already

tries=0
while [ "$tries" -lt 1800 ]; do # an hour and more
	echo '{"status":"unknown"}' >"$answer"
	step "$releases/$id/status"
	case $(cat "$answer") in
	*'"status":"passed"'*) exit 0 ;;
	*'"status":"rolled_back"'*) code=3 ;;
	*'"status":"rollback_failed"'*) code=4 ;;
	*'"status":"inconclusive"'*) code=5 ;;
	*'"status":"breached"'*) code=8 ;;
	*'"status":"aborted"'* | *'"status":"superseded"'*) code=1 ;;
	*'"status":"unknown"'*) exit 0 ;; # not reachable, and that may be
	*)
		tries=$((tries + 1))
		sleep 2
		continue
		;;
	esac
	cat "$answer"
	[ "$code${IF_INCONCLUSIVE:-fail}" = 5pass ] || exit "$code"
	exit 0
done
exit 6
