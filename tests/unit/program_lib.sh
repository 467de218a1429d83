# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests of the program share, which source it: TAP, a run of the program with all it said
# kept, and JSON. $1 of the test is the program.

set -u

pollux=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
checks=0
failures=0
status=0

# verdict NAME COMMAND...: one line, by the status of COMMAND.
verdict()
{
	local name=$1
	shift
	checks=$((checks + 1))
	if "$@"; then
		echo "ok $checks - $name"
	else
		failures=$((failures + 1))
		echo "not ok $checks - $name"
		sed 's/^/# stdout: /' "$work/out" | tail -n 40
		sed 's/^/# stderr: /' "$work/err" | head -n 20
		echo "# status: $status"
	fi
}

skip()
{
	checks=$((checks + 1))
	echo "ok $checks - $1 # SKIP $2"
}

# The plan, and the status of the whole.
finish()
{
	echo "1..$checks"
	[ "$failures" -eq 0 ]
}

run()
{
	"$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
}

# wait_for COMMAND...: return whether it succeeded in time, which is long: a busy machine is no fault.
wait_for()
{
	local deadline=$((SECONDS + 120))

	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# patiently CHECK COMMAND...: run COMMAND with ever longer --time until CHECK holds, since whoever is
# slow only needs more of it. What the last run left is there to be judged.
patiently()
{
	local check=$1 seconds
	shift
	for seconds in 0.3 1 5 30; do
		run timeout 120 "$@" --time=$seconds
		"$check" && return
	done
	return 1
}

# One sentence on standard error that matches $2, status $1, and nothing on standard output.
is_refusal()
{
	[ "$status" -eq "$1" ] && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -eq 1 ] &&
		grep -q '^pollux: .' "$work/err" && grep -qE -- "$2" "$work/err"
}

# query EXPRESSION: what a Python expression makes of the JSON in "out", as j.
query()
{
	python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' \
		"$work/out" "$1" 2>/dev/null
}
