# Telling and checking: a step, what it runs, what the answer must have. Part of scripts/demo.
# shellcheck shell=bash disable=SC2154 # mode, folder and token are the script's

step=0
title=""
out=""    # what the last command or statement said
status=0  # how the last command ended
bold="" plain=""
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

# The story goes to file descriptor 3: the terminal, or a file that is shown when a check fails.
say() { printf '%s\n' "$@" >&3; }
indent() { printf '      %s\n' "${1//$'\n'/$'\n'      }" >&3; }

step() {
    step=$((step + 1))
    title=$1
    say "" "${bold}$step. $title${plain}"
}

ok() {
    [ "$mode" = tell ] || echo "ok $step - $title"
}

fail() {
    if [ "$mode" = check ]; then
        echo "not ok $step - $title"
        { echo "--- the story"; tail -n 60 "$folder/story.log"; } | sed 's/^/# /'
    fi
    { echo "demo: step $step ($title): $1"
      echo "--- the last answer"; echo "$out"
      [ ! -f "$folder/daypass/daypass.log" ] || { echo "--- the proxy's log"; tail -n 20 "$folder/daypass/daypass.log"; }
    } | sed 's/^/# /' >&2
    exit 1
}

# Runs a command as a shell would show it. `$out` has both its streams, `$status` how it ended.
shell() {
    say "   \$ $*"
    # shellcheck disable=SC2294 # the words are shown as they are run
    if out=$(eval "$@" 2>&1); then status=0; else status=$?; fi
    [ -z "$out" ] || indent "$out"
}

expect_status() { [ "$status" = "$1" ] || fail "it ended with $status instead of $1"; }

# The last answer has this text.
expect() {
    case $out in *"$1"*) ;; *) fail "the answer lacks: $1" ;; esac
}

expect_not() {
    case $out in *"$1"*) fail "the answer has: $1" ;; esac
}

# --- the open session ----------------------------------------------------------------------------------

prompt=""       # as it is shown
echo_command="" # with which the client says something itself
mark=0

open_session() { # open_session PROMPT ECHO CLIENT…: the token is in the environment, under both clients' names
    prompt=$1 echo_command=$2
    shift 2
    coproc SESSION { PGPASSWORD=$token MYSQL_PWD=$token exec "$@" 2>&1; }
    # The client keeps these for as long as the session is open.
    exec 7<&"${SESSION[0]}" 8>&"${SESSION[1]}"
}

send() {
    mark=$((mark + 1))
    say "   $prompt> $1"
    printf '%s\n%s --mark-%d--\n' "$1" "$echo_command" "$mark" >&8 || fail "the client has ended"
}

# Reads up to the mark of what was last sent; it may take so many seconds.
receive() {
    local line deadline=$((SECONDS + $1))
    out=""
    while :; do
        if ! IFS= read -r -t $((deadline > SECONDS ? deadline - SECONDS : 1)) line <&7; then
            fail "the client does not answer, or has ended"
        fi
        [ "$line" != "--mark-$mark--" ] || break
        out+=$line$'\n'
    done
    out=${out%$'\n'}
    [ -z "$out" ] || indent "$out"
}

sql() { send "$1"; receive 30; }

leave() {
    local client=$SESSION_PID
    printf '\\q\n' >&8
    exec 8>&- 7<&-
    wait "$client" || fail "the client ended with $?"
}

# --- the audit stream ----------------------------------------------------------------------------------

# Waits for a record for which a Python expression over `r` holds: `record "a refusal" 'r["kind"] == …'`.
record() {
    python3 - "$folder/daypass/audit.jsonl" "$2" <<'PYTHON' || fail "no audit record of $1"
import json, sys, time

class Record(dict):
    """Absent fields are None, so that a condition can name any."""
    def __missing__(self, key):
        return None

path, condition = sys.argv[1:]
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    with open(path, encoding="utf-8") as lines:
        whole = lines.read().rpartition("\n")[0].splitlines()
    for line in whole:
        if eval(condition, {"r": json.loads(line, object_hook=Record)}):
            sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
PYTHON
}

