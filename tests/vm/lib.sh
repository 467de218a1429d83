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

# tap_adopt [PREFIX]: take over lines of TAP with numbers of our own
tap_adopt()
{
	local prefix=${1:-} line number

	while IFS= read -r line; do
		case $line in
		ok\ *) ok "$prefix${line#ok * - }" ;;
		not\ ok\ *) not_ok "$prefix${line#not ok * - }" ;;
		json\ *)
			number=${line#json }
			number=${number%% *}
			check "${line#json * }" json_holds "$(<"$scratch/json.$number.holds")" \
				"json=$scratch/json.$number"
			;;
		'#'*) echo "$line" ;;
		1..*) ;;
		*) echo "# $line" ;;
		esac
	done
}

# run_gtest NAME PROGRAM ARGUMENT...: each test of a GoogleTest program as a line of ours. What it
# printed follows its line. A test that began and did not end has failed, and so has a program that
# ran none.
run_gtest()
{
	local name=$1 output status

	shift
	output=$("$@" 2>&1)
	status=$?
	tap_adopt "$name: " < <(gtest_to_tap <<<"$output")
	# 1 says no more than that a test failed.
	[ "$status" -le 1 ] || not_ok "$name: it ends well" "status $status" "$(tail -n 5 <<<"$output")"
}

gtest_to_tap()
{
	awk '
	function result(word, name) {
		printf "%s %d - %s\n%s", word, ++count, name, said
		said = running = ""
	}
	/^\[ RUN      \] / { running = $4; said = ""; next }
	/^\[       OK \] / && running { result("ok", running); next }
	/^\[  (FAILED|SKIPPED) +\] / && running { result("not ok", running); next }
	running { said = said "# " $0 "\n" }
	END {
		if (running)
			result("not ok", running " ran to its end")
		else if (!count)
			result("not ok", "a test ran")
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
patience=120

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

# --- in the guest --------------------------------------------------------------------------------

# Run the programs that begin_on_host took along, and the tools of the tests, from the guest's memory:
# in emulation each file that is opened on the host costs milliseconds. Every user may read them.
begin_in_guest()
{
	local tool

	cp -r "$folder/bin" "$folder/library" /tmp || exit
	for tool in basename cat cp diff grep ls mv readlink sed sh sleep; do
		ln -s busybox "/tmp/bin/$tool"
	done
	export PATH=/tmp/bin:$PATH LD_LIBRARY_PATH=/tmp/library
	hash -r
}

# The machine's first two NICs.
nic_a=0000:00:10.0
nic_b=0000:00:11.0

# run_on_nics PROGRAM: a GoogleTest program that takes their addresses, over either kind of ring
run_on_nics()
{
	local options

	check "bind takes the NICs" pollux bind $nic_a $nic_b
	for options in packed=off packed=on; do
		run_gtest $options "$1" $nic_a,$options $nic_b,$options
	done
}

# check_json NAME EXPRESSION FILE: left to the host, which is faster at Python
check_json()
{
	json_count=$((json_count + 1))
	cp "$3" "$folder/json.$json_count"
	echo "json $json_count $1"
	echo "$2" >"$folder/json.$json_count.holds"
}

json_count=0

# --- the machine ---------------------------------------------------------------------------------

# begin_on_host SCRIPT PROGRAM...: what the guest is to run, in a folder that it shares. The programs
# take their libraries along.
begin_on_host()
{
	local script=$1

	shift
	trap on_exit EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/pollux-vm.XXXXXX") || exit 1
	at_exit 'rm -rf "$scratch"'
	mkdir "$scratch/bin" "$scratch/library"
	cp "$tests/lib.sh" "$tests/$script" "$scratch" &&
		cp "$@" "$(command -v busybox)" "$scratch/bin" &&
		ldd "$@" "$BASH" | sed -n 's/.* => \(.*\) (0x.*/\1/p' | awk -F/ '!seen[$NF]++' |
		xargs cp -t "$scratch/library" || exit
}

machine()
{
	"$tests/../../apps/machine" run --share="$scratch" --timeout=600 "$@"
}

# Whether the emulation itself failed, as it does now and then with several CPUs on a busy host: QEMU
# crashed, or one of the guest's CPUs stood still. Of what ran in it that says nothing, and so it runs
# once more.
emulator_crashed()
{
	case $1 in
	125) grep -q 'QEMU ended on signal' "$scratch/err" ;;
	124) grep -q 'detected stalls on CPUs' "$scratch/err" ;;
	*) return 1 ;;
	esac
}

# in_machine "SCRIPT [ARGUMENT]..." [OPTION...]: what the script prints as TAP is ours. The options are
# the machine's.
in_machine()
{
	local script status try

	read -ra script <<<"$1"
	shift
	for try in 1 2; do
		machine "$@" -- bash "$scratch/${script[0]}" "$scratch" "${script[@]:1}" \
			>"$scratch/out" 2>"$scratch/err"
		status=$?
		[ "$try" = 1 ] && emulator_crashed "$status" || break
		diagnose "the machine is run once more:" "$(tail "$scratch/err")"
	done
	tap_adopt <"$scratch/out"
	is "${script[*]} ran to its end" "$(grep '^1\.\.' "$scratch/out")" \
		"1..$(grep -cE '^(not )?ok ' "$scratch/out")"
	# 1 says no more than that a check failed.
	[ "$status" -le 1 ] ||
		not_ok "the machine runs ${script[*]}" "status $status" "$(tail "$scratch/err")"
}
