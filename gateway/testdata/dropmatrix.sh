#!/bin/sh
# Writes the routes.yaml of a drop test: the targets in $DM_TARGETS, and with
# $DM_NOTE a header on a route that no client asks for, which is the unrelated change.
set -eu
{
	echo "version: 1"
	echo "listen: {http: 127.0.0.1:$DM_PORT}"
	echo "state_dir: $DM_DIR/state"
	echo "services:"
	echo "  app:"
	echo "    health: {path: $DM_HEALTH}"
	echo "    swap: {patience: ${DM_DEPLOY_WAIT}s, drain: ${DM_DRAIN}s, streams: ${DM_DRAIN}s}"
	echo "    targets:"
	for target in $DM_TARGETS; do echo "      - http://${target#http://}"; done
	echo "routes:"
	echo "  - {host: $DM_HOST, service: app}"
	echo "  - {host: other.test, service: app, set_headers: {X-Note: \"${DM_NOTE:-0}\"}}"
} > "$1.new"
mv "$1.new" "$1"
