# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests on a machine share: TAP, waiting with a bound, JSON, and the machine itself. Sourced
# by the *_test.sh on the host and by the *_guest.sh inside.

set -uo pipefail

# --- TAP: one line for each check, the plan at the end -------------------------------------------

tap_count=0
tap_failed=0

ok()
{
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1"
}

# not_ok NAME [DIAGNOSTIC...]
not_ok()
{
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $1"
	shift
	diagnose "$@"
}

# Each line of each argument.
diagnose()
{
	[ $# -eq 0 ] || printf '%s\n' "$@" | sed 's/^/# /'
}

# check NAME COMMAND...: what the command prints is the diagnostic.
check()
{
	local name=$1 said

	shift
	if said=$("$@" 2>&1); then
		ok "$name"
	else
		not_ok "$name" "failed: $*" "$said"
	fi
}

# is NAME FOUND WANTED
is()
{
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "found:" "$2" "wanted:" "$3"
	fi
}

# like NAME FOUND PATTERN: an extended regular expression
like()
{
	if [[ $2 =~ $3 ]]; then
		ok "$1"
	else
		not_ok "$1" "found:" "$2" "wanted something like: $3"
	fi
}

# The last words of a test. Without them it did not run to its end, which on_exit() reports.
tap_end()
{
	tap_ended=yes
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ]
}

# Take over the lines of a test that ran elsewhere, with numbers of our own.
tap_adopt()
{
	local line

	while IFS= read -r line; do
		case $line in
		ok\ *) ok "${line#ok * - }" ;;
		not\ ok\ *) not_ok "${line#not ok * - }" ;;
		'#'*) echo "$line" ;;
		1..*) ;;
		*) echo "# $line" ;;
		esac
	done
}

# The output of a GoogleTest program as TAP without a plan. What a test printed follows its line. A
# test that began and did not end has failed, and so has a program that ran none.
gtest_to_tap()
{
	awk '
	function result(word, name) {
		printf "%s %d - %s\n%s", word, ++count, name, said
		said = running = ""
	}
	/^\[ RUN      \] / { running = $4; said = ""; next }
	/^\[       OK \] / && running { result("ok", running); next }
	/^\[  (FAILED|SKIPPED)  ?\] / && running { result("not ok", running); next }
	running { said = said "# " $0 "\n" }
	END {
		if (running)
			result("not ok", running " ran to its end")
		else if (!count)
			result("not ok", "the program ran a test")
	}'
}

# --- the end, however it comes -------------------------------------------------------------------

tap_ended=
cleanups=()

# at_exit COMMAND: run in reverse order
at_exit()
{
	cleanups=("$1" "${cleanups[@]}")
}

on_exit()
{
	local status=$? cleanup

	trap '' INT TERM HUP
	if [ -z "$tap_ended" ]; then
		not_ok "the test ran to its end" "it ended early, with status $status"
		tap_end
		status=1
	fi
	for cleanup in "${cleanups[@]}"; do
		eval "$cleanup"
	done
	exit "$status"
}

# --- waiting -------------------------------------------------------------------------------------

# How long anything may take that should take no time: a busy host is no failure.
patience=${PATIENCE:-120}

# wait_until COMMAND...: return whether it succeeded in time
wait_until()
{
	local deadline=$((SECONDS + patience))

	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# Let the other side of a shared folder see a whole file or none.
put_file()
{
	printf '%s\n' "$2" >"$1.new" && mv "$1.new" "$1"
}

# --- JSON ----------------------------------------------------------------------------------------

# json_holds EXPRESSION NAME=FILE...: whether a Python expression is true of the contents of files
json_holds()
{
	python3 - "$@" <<'END'
import json
import sys

values = {}
for argument in sys.argv[2:]:
    name, path = argument.split("=", 1)
    try:
        with open(path, encoding="utf-8") as file:
            values[name] = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit("%s: %s" % (path, error))
try:
    held = eval("(" + sys.argv[1] + ")", values)
except (LookupError, TypeError, ValueError) as error:
    sys.exit("cannot evaluate it: %r" % error)
if not held:
    values.pop("__builtins__", None)
    for name, value in values.items():
        print("%s = %s" % (name, json.dumps(value)))
    sys.exit(1)
END
}

# --- the machine ---------------------------------------------------------------------------------

# The folders of this test: what it needs of the tree is copied to $scratch, which the guest shares,
# since the tree may be in a place that is another one in the guest.
begin_on_host()
{
	trap on_exit EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/pollux-vm.XXXXXX") || exit 1
	at_exit 'rm -rf "$scratch"'
	cp "$tests/lib.sh" "$@" "$scratch" || exit 1
}

machine()
{
	"$tests/../../apps/machine" run --share="$scratch" --timeout=300 "$@"
}
