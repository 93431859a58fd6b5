#!/bin/sh
# The README's quickstart, on a server of yours: a proxy before it, a token, a grant, a statement that is
# allowed and one that is not. Needs daypass and psql on the PATH.
#
#   examples/quickstart.sh postgres://daypass@127.0.0.1:5432/shop 'SELECT ON public.orders' \
#       'SELECT count(*) FROM orders' 'SELECT email FROM customers'
#
# The user of the URL is the service account; its password is read from shop.password in the folder of
# the configuration, ~/daypass or $DAYPASS_HOME, where there is such a file. The proxy listens on port
# 6432 or $DAYPASS_PORT, and goes on until the script ends: on Enter where a person runs it.
set -eu
server=$1 privilege=$2 allowed=$3 refused=$4
database=shop
home=${DAYPASS_HOME:-$HOME/daypass}
port=${DAYPASS_PORT:-6432}
repository=$(cd "$(dirname "$0")/.." && pwd)

[ -d "$home" ] || mkdir -m 700 "$home" # the API's socket lies here, so nobody else may enter
cd "$home"
if [ ! -e daypass.toml ]; then
    server=$(printf '%s' "$server" | sed 's/&/\\&/g') # sed would put what it found there
    sed -e "s#^address = \"127.0.0.1:6432\"#address = \"127.0.0.1:$port\"#" \
        -e "s#^primary = .*#primary = \"$server\"#" "$repository/config/daypass.toml" >daypass.toml
    if [ -e shop.password ]; then
        sed -i 's/^# password-file = /password-file = /' daypass.toml
    fi
fi
daypass check --config daypass.toml
daypass serve --config daypass.toml &
proxy=$!
trap 'kill "$proxy" && wait "$proxy"' EXIT
export DAYPASS_URL="unix:$home/daypass.sock"
until daypass session list >/dev/null 2>&1; do
    kill -0 "$proxy" # or it has ended, and said why
    sleep 0.1
done

PGPASSWORD=$(daypass token issue --user alice --ttl 15m)
export PGPASSWORD
daypass grant create --user alice --database "$database" --for 1h --reason 'order 1 is stuck' \
    --privilege "$privilege"
ask() { psql -X -h 127.0.0.1 -p "$port" -U alice "$database" -c "$1"; }
ask "$allowed"
if ask "$refused"; then
    echo "quickstart: that should have been refused: $refused" >&2
    exit 1
fi
if [ -t 0 ]; then
    echo "psql -h 127.0.0.1 -p $port -U alice $database     # PGPASSWORD=$PGPASSWORD; Enter ends the proxy"
    read -r _
fi
