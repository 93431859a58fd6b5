# The MariaDB of the demo, and what happens on it. Part of scripts/demo, which has the rest.
# shellcheck shell=bash disable=SC2154 # folder, ports and token are the script's

mariadb_server() {
    PATH=$PATH:/usr/sbin command -v mariadbd || { echo "demo: no MariaDB here; run scripts/install demo" >&2; exit 64; }
}

mariadb_root() { # statements come on standard input
    mariadb --no-defaults --batch --skip-column-names -u root -S "$folder/mariadb/socket"
}

start_mariadb() {
    local as=() password tries
    # It refuses to be root unless it is told to be.
    [ "$(id -u)" != 0 ] || as=(--user=root)
    mkdir -m 700 "$folder/mariadb"
    mariadb-install-db --no-defaults "${as[@]}" --skip-test-db --auth-root-authentication-method=normal \
        --datadir="$folder/mariadb/data" >"$folder/mariadb/log" 2>&1
    setsid "$MARIADBD" --no-defaults "${as[@]}" --datadir="$folder/mariadb/data" --socket="$folder/mariadb/socket" \
        --pid-file="$folder/mariadb/pid" --port="$MARIADB_PORT" --bind-address=127.0.0.1 --skip-name-resolve \
        --innodb-buffer-pool-size=16M --innodb-flush-log-at-trx-commit=0 \
        --general-log=ON --general-log-file="$folder/mariadb/statements" >>"$folder/mariadb/log" 2>&1 3>&- &
    disown # nothing is said when it is killed
    for ((tries = 0; tries < 300; tries++)); do
        if mariadb_root <<<"SELECT 1" >/dev/null 2>&1; then break; fi
        kill -0 $! 2>/dev/null || { out=$(tail -n 5 "$folder/mariadb/log"); fail "MariaDB has ended"; }
        sleep 0.1
    done
    password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
    mariadb_root <<-SQL
	CREATE DATABASE crm;
	USE crm;
	CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(40), email VARCHAR(80), card VARCHAR(20));
	CREATE TABLE tickets (id INT PRIMARY KEY, customer_id INT REFERENCES customers (id), status VARCHAR(20), note TEXT);
	INSERT INTO customers VALUES
	    (1, 'Ada', 'ada@example.org', '4000 0000 0000 0001'),
	    (2, 'Grace', 'grace@example.org', '4000 0000 0000 0002');
	INSERT INTO tickets VALUES (7, 1, 'open', 'call her'), (8, 2, 'closed', 'all is well');
	CREATE USER daypass@'127.0.0.1' IDENTIFIED BY '$password';
	GRANT ALL ON crm.* TO daypass@'127.0.0.1' WITH GRANT OPTION;
	GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO daypass@'127.0.0.1';
	GRANT SELECT ON mysql.* TO daypass@'127.0.0.1';
	SQL
    (umask 077; printf '%s\n' "$password" >"$folder/daypass/crm.password")
}

stop_mariadb() { # stop_mariadb FOLDER
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 0
    # Its data goes with it, so it need not write any.
    while grep -qsF "$1/data" "/proc/$pid/cmdline"; do
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
    done
}

the_mariadb() {
    step "A MariaDB"
    say "   Nothing about it is special, either. The same proxy will stand before it."
    start_mariadb
    out=$(mariadb_root <<<"SELECT COUNT(*), VERSION() FROM crm.tickets")
    [[ $out == 2$'\t'*MariaDB* ]] || fail "its tables are not there"
    say "   127.0.0.1:$MARIADB_PORT, schema crm: customers and tickets"
    ok
}

# The answer is an error of that number, and nothing of it has reached the server.
expect_refused() { # expect_refused ERRNO TEXT
    expect "ERROR $1 (42000)"
    expect "permission denied"
    expect "Ask for it here: CALL daypass.request("
    ! grep -qF "$2" "$folder/mariadb/statements" || fail "a refused statement reached the server"
}

mysql_login() {
    step "The same token, in the mariadb client that she has: the proxy speaks MySQL's protocol, too"
    say "   \$ MYSQL_PWD=… mariadb -h 127.0.0.1 -P $MYSQL_PROXY_PORT -u alice crm"
    open_session alice@crm '\! echo' mariadb --no-defaults --table --force --unbuffered \
        --loose-skip-print-query-on-error -h 127.0.0.1 -P "$MYSQL_PROXY_PORT" -u alice crm
    sql "CALL daypass.whoami();"
    expect alice
    record "her login" 'r["kind"] == "session-start" and r["engine"] == "mysql" and r["principal"] == "alice" and r["database"] == "crm"'
    ok

    step "A wrong password is refused, and leaves a record"
    shell "MYSQL_PWD=daypass_wrong mariadb --no-defaults -h 127.0.0.1 -P $MYSQL_PROXY_PORT -u alice crm -e 'SELECT 1'"
    expect_status 1
    expect "ERROR 1045 (28000)"
    record "the refused login" 'r["kind"] == "login-refused" and r["engine"] == "mysql" and r["principal"] == "alice" and r["sqlstate"] == "28000"'
    ok
}

mysql_grant() {
    step "What she holds on one database counts for nothing on another"
    sql "SELECT id, status FROM tickets WHERE status = 'open';"
    expect_refused 1143 "status = 'open'"
    expect "SELECT (id, status) ON crm.tickets"
    record "the refusal" 'r["kind"] == "decision" and r["decision"] == "deny" and r["database"] == "crm" and r["engine"] == "mysql"'
    ok

    step "The operator grants what this job needs, with the same command"
    shell daypass grant create --user alice --database crm \
        --privilege "'SELECT (id, status), UPDATE (status) ON crm.tickets'" --for 1h --reason "'ticket 7'" "2>/dev/null"
    expect_status 0
    grant=$out
    [[ $grant =~ ^g_[a-z0-9]{12}$ ]] || fail "that is no grant's id"
    record "the grant" "r['kind'] == 'grant' and r['event'] == 'created' and '$grant' in r['grants']"
    ok

    step "In the session that she has open, it counts at once"
    sql "SELECT id, status FROM tickets WHERE id = 7;"
    expect "|  7 | open   |"
    sql "UPDATE tickets SET status = 'closed' WHERE id = 7;"
    expect_not ERROR
    [ "$(mariadb_root <<<"SELECT status FROM crm.tickets WHERE id = 7")" = closed ] || fail "nothing was changed"
    record "the update's decision" "r['kind'] == 'decision' and r['decision'] == 'allow' and r['class'] == 'WRITE' and '$grant' in r['grants']"
    record "the update's result" "r['kind'] == 'result' and r['database'] == 'crm' and r['outcome'] == 'ok' and r['rows'] == 1 and r['class'] == 'WRITE'"
    ok

    step "The server holds her to it, too: her session is an account of her own there"
    sql "SELECT CURRENT_USER();"
    [[ $out =~ daypass_alice[a-z0-9_]*@127.0.0.1 ]] || fail "it is not"
    local account=${BASH_REMATCH[0]%@*}
    say "   root> SHOW GRANTS FOR $account@127.0.0.1;"
    out=$(mariadb_root <<<"SHOW GRANTS FOR $account@'127.0.0.1'" | sed "s/ IDENTIFIED .*//")
    indent "$out"
    expect "UPDATE (\`status\`)"
    expect "ON \`crm\`.\`tickets\`"
    expect_not customers
    ok
}

mysql_refusals() {
    step "Another column, a deletion, a column in a comment that MariaDB runs: refused, with MySQL's own errno"
    sql "UPDATE tickets SET note = 'done' WHERE id = 7;"
    expect_refused 1143 "note = 'done'"
    expect "UPDATE (note) ON crm.tickets"
    sql "DELETE FROM tickets WHERE id = 7;"
    expect_refused 1142 "DELETE FROM"
    expect "DELETE ON crm.tickets"
    sql "SELECT id /*! , note */ FROM tickets WHERE id = 8;"
    expect_refused 1143 "/*! , note */"
    sql "SELECT name, email FROM customers WHERE id = 1;"
    expect_refused 1143 "name, email"
    record "the refusal" 'r["decision"] == "deny" and any("crm.customers" in one for one in r["missing"])'
    ok
}

mysql_request() {
    step "She asks for it without leaving the session: the message has the line"
    local call
    call=$(grep -o "CALL daypass.request('[^']*', '[^']*', 'why')" <<<"$out") || fail "the message has no CALL"
    sql "${call/\'why\'/\'INC-43: write to Ada\'};"
    [[ $out =~ r_[a-z0-9]{12} ]] || fail "no request's id"
    request=${BASH_REMATCH[0]}
    record "the request" "r['kind'] == 'request' and r['event'] == 'created' and r['request'] == '$request' and r['database'] == 'crm'"
    shell daypass approve "$request" "2>/dev/null"
    expect_status 0
    second=$out
    [[ $second =~ ^g_[a-z0-9]{12}$ ]] || fail "that is no grant's id"
    record "the approval" "r['kind'] == 'request' and r['event'] == 'approved' and r['request'] == '$request'"
    sql "SELECT name, email FROM customers WHERE id = 1;"
    expect ada@example.org
    sql "SELECT card FROM customers;"
    expect_refused 1143 "card FROM"
    expect_not "4000 0000"
    ok
}

mysql_revocation() {
    step "A revocation stops what runs under the grant, here by KILL QUERY"
    send "SELECT name, SLEEP(60) FROM customers;"
    local tries running=0 since=$SECONDS
    for ((tries = 0; tries < 100 && running == 0; tries++)); do
        running=$(mariadb_root <<<"SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT name, SLEEP%'")
        sleep 0.1
    done
    [ "$running" = 1 ] || fail "the statement does not run"
    shell daypass grant revoke "$second" --reason "'Ada knows'"
    expect_status 0
    receive 10
    expect "ERROR 1317 (70100)"
    expect "$second"
    ((SECONDS - since < 30)) || fail "that took $((SECONDS - since)) s"
    record "the revocation" "r['kind'] == 'grant' and r['event'] == 'revoked' and '$second' in r['grants']"
    record "the cancelled statement" 'r["kind"] == "result" and r["database"] == "crm" and r["outcome"] == "cancelled" and r["sqlstate"] == "70100"'
    ok

    step "The session is still open, and the other grant still counts"
    sql "SELECT name FROM customers WHERE id = 1;"
    expect_refused 1143 "name FROM customers WHERE"
    sql "SELECT id, status FROM tickets;"
    expect closed
    leave
    record "the end of her session" 'r["kind"] == "session-end" and r["database"] == "crm" and r["principal"] == "alice"'
    ok
}
