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
