#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# vprovctl against the true bus with a manager in memory (fake-vprovd), on a
# message bus of its own: what it prints, its JSON, its exit codes, and who is
# refused what.
set -u
# shellcheck source=tests/system/tap.sh
. "${VP_SRCDIR:-.}/tests/system/tap.sh"
build=${VP_BUILDDIR:-.}
folder=$(mktemp -d)
bus='' fake='' monitor=''
clean_up ()
{
  # shellcheck disable=SC2086 # each is one number or nothing
  kill $monitor $fake $bus 2> /dev/null
  wait 2> /dev/null
  rm -rf "$folder"
}
trap clean_up EXIT

command -v dbus-daemon > /dev/null || skip_all "dbus-daemon is not installed"
# The bus policy that is installed, on a bus that lets every user in.
cat > "$folder/bus.conf" <<EOM
<busconfig>
  <listen>unix:path=$folder/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_type="signal"/>
    <allow send_type="method_return"/>
    <allow send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>$(realpath "$VP_SRCDIR/etc/org.vprovd1.conf")</include>
</busconfig>
EOM
me=$(id -u)
# Only root may be vprovd; where the tests run as somebody else, that user.
[ "$me" = 0 ] || sed -i "/<include>/a <policy user=\"$me\"><allow own=\"org.vprovd1\"/></policy>" \
  "$folder/bus.conf"
chmod 755 "$folder"
dbus-daemon --nofork --nopidfile --config-file="$folder/bus.conf" \
  2> "$folder/bus.log" &
bus=$!
wait_for 10 test -S "$folder/bus" || bail_out "$(cat "$folder/bus.log")"
address=unix:path=$folder/bus

fake_start ()
{
  : > "$folder/fake.out"
  "$build/tests/daemon/fake-vprovd" "$address" > "$folder/fake.out" \
    2> "$folder/fake.err" &
  fake=$!
  wait_for 10 grep -q ready "$folder/fake.out" ||
    bail_out "$(cat "$folder/fake.err")"
}
fake_stop ()
{
  kill "$fake"
  wait "$fake"
  fake=''
}
ctl () { "$build/vprovctl" --bus="$address" "$@"; }
# code NUMBER WORDS...: this exit code, neither more nor less.
code ()
{
  local expected=$1 found
  shift
  "$@"
  found=$?
  [ "$found" = "$expected" ] ||
    { echo "exit code $found, not $expected"; return 1; }
}
# prints TEXT WORDS...: standard output is this.
prints ()
{
  local text=$1 output
  shift
  output=$("$@" 2> /dev/null) || true
  [ "$output" = "$text" ] && return
  diff <(echo "$text") <(echo "$output")
  return 1
}
# says TEXT WORDS...: succeeds, and the text is in what it prints.
says ()
{
  local text=$1 output
  shift
  output=$("$@" 2>&1) && case $output in *"$text"*) return 0 ;; esac
  printf '%s\n' "no '$text' in:" "$output"
  return 1
}
# Python is there where gdbus-codegen is.  json WORDS...: each line, or all of
# it, is JSON.
json ()
{
  "$@" | python3 -c '
import json, sys
text = sys.stdin.read()
try:
    json.loads(text)
except ValueError:
    for line in text.splitlines():
        json.loads(line)
assert text'
}

# ---- usage -----------------------------------------------------------------
check "--help" says "Verbs:" code 0 ctl --help
check "--version" prints "vprovctl $(sed -n 's/^AC_INIT(\[vprovd\], \[\(.*\)\])/\1/p' \
  "$VP_SRCDIR/configure.ac")" ctl --version
while read -r words; do
  # shellcheck disable=SC2086 # a line is a command line
  check "usage: '$words' is wrong" code 2 ctl $words
done <<'EOM'
frob
start
stop --no-block
cat
list web-1
adopt
adopt a b
apply --plan=p1 db
start --plan=p1 db
list --print
verify --kind
--json=loud list
--frob list
--bus=nowhere list
forward
forward frob
forward check
job
job cancel
reload now
EOM
help_of_all ()
{
  local verb
  for verb in list status cat plan apply start stop verify reload adopt \
      'forward list' 'forward check' 'job list' 'job cancel' monitor; do
    # shellcheck disable=SC2086 # two words are two words
    says "vprovctl $verb" code 0 ctl $verb -h || return 1
    # The man page and the completion know it too.
    grep -q "^\\.B.*${verb%% *}" "$VP_SRCDIR/man/vprovctl.1" ||
      { echo "vprovctl.1 lacks $verb"; return 1; }
    grep -qw -- "${verb##* }" "$VP_SRCDIR/etc/vprovctl.bash" ||
      { echo "the completion lacks $verb"; return 1; }
  done
}
check "half a verb has help" says "vprovctl forward check" \
  code 0 ctl forward --help
check "each verb has help, a place in the manual and in the completion" \
  help_of_all
check "no daemon: says how to start it" says "systemctl enable --now vprovd" \
  code 1 ctl list
check "no bus: says so" says "cannot reach" \
  code 1 "$build/vprovctl" --bus="unix:path=$folder/none" list

# ---- reading ---------------------------------------------------------------
fake_start
check "list" prints "\
NAME   STATE      SYNC     ADDRESS         FORWARDS            PROBLEMS
bad    undefined  invalid  -               -                   1 error
db     stopped    synced   -               -                   restart required
full   stopped    failed   -               -                   last job failed
web-1  running    synced   192.168.211.10  tcp 8080 -> 80, +1  1 warning, 1 dead forward

4 guests listed." ctl
check "list --no-legend has guests alone" \
  same 4 "$(ctl list --no-legend | wc -l)"
check "no escape sequences in a pipe" lacks $'\033' ctl status web-1

check "status of the daemon" says "4, 1 running, 1 failed, 1 with an invalid" \
  code 0 ctl status
check "status of a guest that runs" code 0 ctl status web-1
check "status of one that does not" code 3 ctl status web-1 db
check "status of one that is not there" says "no guest" code 1 ctl status nobody
while read -r text; do
  check "status says '$text'" has "$text" ctl status web-1 full db bad
done <<'EOM'
Spec: /etc/vprovd/guests/web-1.xml
State: running since
State: stopped, should be running
Sync: synced
Accel: tcg
192.168.211.10 on nic0
tcp 8080 -> 80, active
tcp 22 -> 22, conflict: sshd (pid 812) listens on port 22
2 after crashes
web-1.xml:2:3: warning: KVM cannot be used
bad.xml:3:5: error: unknown element 'nik'
Pending: memory 2 GiB -> 4 GiB
Restart: required
failed: no space on /var (NoSpace)
The shop's ?[31mfront
EOM

check "cat" prints "$(printf '<guest>\n  <!-- web-1 -->\n</guest>')" \
  ctl cat web-1
check "cat of a spec that never was accepted" code 1 ctl cat bad
check "forward list" prints "\
GUEST  FORWARD         STATE     REASON
web-1  tcp 8080 -> 80  active    -
web-1  tcp 22 -> 22    conflict  sshd (pid 812) listens on port 22

2 forwards listed." ctl forward list
check "forward check of one that works" code 0 ctl forward check web-1:8080
check "forward check of one that does not" code 1 ctl forward check web-1:22
check "forward check names the cure" has "start the service in the guest" \
  ctl forward check web-1:22
check "forward check -q is silent where all is well" prints "" \
  ctl -q forward check web-1:8080
check "forward check of none" says "no such forward" \
  code 1 ctl forward check web-1:9

# ---- files -----------------------------------------------------------------
check "verify tells all problems, once" prints "\
/etc/vprovd/guests/bad.xml:3:5: error: unknown element 'nik'; did you mean 'nic'?
/etc/vprovd/guests/web-1.xml:2:3: warning: KVM cannot be used, TCG is slow" \
  code 1 ctl verify
mkdir -p "$folder/guests" "$folder/networks"
echo '<guest/>' > "$folder/guests/good.xml"
echo '<nik/>' > "$folder/guests/broken.xml"
printf '<old>\351</old>' > "$folder/networks/latin.xml"
check "verify of a good file" code 0 ctl verify "$folder/guests/good.xml"
check "verify of a broken file" prints \
  "$folder/guests/broken.xml:3:5: error: unknown element 'nik'; did you mean 'nic'?" \
  code 1 ctl verify "$folder/guests/good.xml" "$folder/guests/broken.xml"
check "a warning is no error, and a file need not be UTF-8" \
  says "latin.xml:1:1: warning:" code 0 ctl verify "$folder/networks/latin.xml"
mkfifo "$folder/guests/pipe.xml"
check "verify does not wait for a FIFO" says "is not a regular file" code 1 \
  ctl verify "$folder/guests/pipe.xml"
check "verify of no file" says "No such file" code 1 ctl verify "$folder/none"
echo '<guest/>' > "$folder/guests/a b.xml"
check "verify of a strange name" says "no name for a spec" \
  code 1 ctl verify "$folder/guests/a b.xml"
head -c 1100000 /dev/zero > "$folder/guests/long.xml"
check "verify of a file that is too long" says "too long" \
  code 1 ctl verify "$folder/guests/long.xml"
check "reload fails where a file has errors" says "bad.xml:3:5: error" \
  code 1 ctl reload

check "adopt --print" prints "<domain><name>legacy</name></domain>" \
  ctl adopt --print legacy
check "adopt writes the file" says "Wrote $folder/new/guests/legacy.xml" \
  code 0 ctl adopt legacy --directory="$folder/new/guests"
check "for its owner alone" same "600 legacy.xml" \
  "$(cd "$folder/new/guests" && stat -c '%a %n' -- * .[!.]* 2> /dev/null)"
check "adopt never writes over a file" says "File exists" \
  code 1 ctl adopt legacy --directory="$folder/new/guests"
check "and leaves no other file" same legacy.xml \
  "$(ls -A "$folder/new/guests")"
check "adopt of no domain" says "no domain" code 1 ctl adopt nobody --print
check "adopt of a name that no guest can have" says "cannot have this name" \
  code 1 ctl adopt "bad name" --directory="$folder/new/guests"

# ---- doing -----------------------------------------------------------------
"$build/vprovctl" --bus="$address" monitor > "$folder/monitor" &
monitor=$!
"$build/vprovctl" --bus="$address" monitor --json=short \
  > "$folder/monitor.json" &
monitor="$monitor $!"
listens () { grep -q there "$folder/monitor" "$folder/monitor.json"; }
check "monitor says that the daemon is there" wait_check 10 listens

check "plan finds something" says "set the memory of guest db" \
  code 4 ctl plan
check "plan of a guest without steps" prints "Nothing to do." \
  code 0 ctl plan web-1
check "plan of no guest" says "no guest" code 1 ctl plan nobody
check "an old plan is refused" says "something changed" \
  code 1 ctl apply --plan=p0
check "apply plans anew where it must" code 0 ctl apply db
check "then there is nothing to do" prints "Nothing to do." code 0 ctl apply
check "plan is content" code 0 ctl plan
check "start waits for the job" code 0 ctl start db
check "and it runs" code 0 ctl status db
check "stop" code 0 ctl stop db web-1
check "a job that fails tells why" says "start full: no space on /var" \
  code 1 ctl start full
check "--no-block does not wait" code 0 ctl start --no-block full
check "start of no guest, and of one" says "no guest" code 1 ctl start nobody db
check "job list" has "start" ctl job list
check "job cancel of one that ended" says "ended already" \
  code 1 ctl job cancel 1
check "job cancel of no job" says "no job 99" code 1 ctl job cancel 99
check "job cancel of no number" says "no number" code 1 ctl job cancel x

heard () { grep -q -- "$1" "$folder/monitor"; }
for news in "job .* new guest=db verb=start" "guest .* state=running" \
    "guest .* started" "job .* failed guest=full message=no space"; do
  check "monitor says '$news'" wait_check 10 heard "$news"
done

# ---- JSON ------------------------------------------------------------------
for mode in short pretty; do
  for words in list 'status web-1 db' status plan 'forward list' verify \
      'forward check web-1:22' 'job list' 'cat web-1' apply reload; do
    # shellcheck disable=SC2086 # two words are two words
    check "--json=$mode $words is JSON" json ctl --json=$mode $words
  done
done
# query EXPRESSION WORDS...: of the answer d, as Python.
query ()
{
  local expression=$1
  shift
  ctl --json=short "$@" | python3 -c '
import json, sys
d = json.load(sys.stdin)
print(eval(sys.argv[1]))' "$expression"
}
check "JSON: names and states" same "bad undefined,web-1 stopped" \
  "$(query '",".join(g["name"] + " " + g["state"] for g in d
                     if g["name"] in ("bad", "web-1"))' list)"
check "JSON: records" same "192.168.211.10 active 3" \
  "$(query '"%s %s %d" % (d[0]["addresses"][0]["address"],
                          d[0]["forwards"][0]["state"],
                          d[0]["problems"][0]["column"])' status web-1)"
check "JSON: no error is null" same "None org.vprovd1.Error.NoSpace" \
  "$(query '"%s %s" % (d[0]["last_error"], d[1]["last_error"]["name"])' \
    status db full)"
check "JSON: one line" same 1 "$(ctl --json=short list | wc -l)"
check "JSON: monitor's lines" json cat "$folder/monitor.json"
check "JSON: plan" same "0" "$(query 'len(d["steps"])' plan)"

# ---- who may ---------------------------------------------------------------
nobody ()
{
  setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$folder/vprovctl" --bus="$address" "$@"
}
if [ "$me" = 0 ] && command -v setpriv > /dev/null; then
  cp "$(realpath "$build/vprovctl")" "$folder/vprovctl"
  check "anybody may list" says web-1 code 0 nobody list
  check "anybody may plan" code 0 nobody plan
  check "anybody may check a forward" code 0 nobody forward check web-1:8080
  for words in 'start db' 'stop db' reload 'cat web-1' 'adopt --print legacy' \
      'job cancel 1' "verify $folder/guests/good.xml" 'apply --plan=p1'; do
    # shellcheck disable=SC2086 # a line is a command line
    check "nobody may not $words" says "only root may do this" \
      code 1 nobody $words
  done
  # shellcheck disable=SC2086 # a line is a command line
  check "and hears of sudo" has "try it with sudo" nobody start db
  check "nobody is vprovd but root" fails setpriv --reuid=65534 \
    --regid=65534 --clear-groups busctl --address="$address" call \
    org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus \
    RequestName su org.vprovd1 4
else
  skip "who may" "only root can become somebody else"
fi

# ---- the daemon goes -------------------------------------------------------
check "a second daemon is refused" says "another vprovd runs" \
  code 1 "$build/tests/daemon/fake-vprovd" "$address"
fake_stop
check "monitor says that the daemon is gone" wait_check 10 heard gone
fake_start
is_back () { [ "$(grep -c there "$folder/monitor")" = 2 ]; }
check "and that it is back" wait_check 10 is_back
# shellcheck disable=SC2086 # two numbers
kill -INT $monitor
for pid in $monitor; do
  wait "$pid"
  check "monitor ends well with Ctrl-C" same 0 $?
done
monitor=''
tap_done
