#!/bin/sh
# One release from a pipeline, with curl alone. Usage: curl.sh ID VERSION HEALTH_FILE DEPLOY...
# HEALTH_FILE is the name of one in the daemon's folder health_files. Exit codes as in cli.sh.
# GATEKEEPER_URL and GATEKEEPER_TOKEN say where and who.
set -eu
id=$1 version=$2 health=$3
shift 3
releases=${GATEKEEPER_URL:-http://127.0.0.1:9095}/api/v1/releases

call() {
	curl --silent --show-error --fail-with-body --max-time 60 --retry 5 --retry-connrefused \
		--header "Authorization: Bearer ${GATEKEEPER_TOKEN:-}" --header 'Content-Type: application/json' "$@" || {
		code=$?
		echo >&2
		[ "$code" = 22 ] && exit 1 # refused: the answer says why
		exit 7                     # not reachable
	}
}

call --data "{\"id\":\"$id\",\"version\":\"$version\",\"health_file\":\"$health\"}" "$releases" >/dev/null
"$@" || {
	call --data '{"why":"the deployment failed"}' "$releases/$id/close" >/dev/null
	exit 1
}
call --data '{}' "$releases/$id/deployed" >/dev/null
while :; do
	answer=$(call "$releases/$id") || exit $?
	case $answer in
	*'"outcome":"passed"'*) exit 0 ;;
	*'"outcome":"rolled_back"'*) exit 3 ;;
	*'"outcome":"rollback_failed"'*) exit 4 ;;
	*'"outcome":"inconclusive"'*) exit 5 ;;
	*'"outcome":"breached"'*) exit 8 ;;
	*'"outcome":"'*) exit 1 ;; # aborted, superseded
	esac
	sleep 1
done
