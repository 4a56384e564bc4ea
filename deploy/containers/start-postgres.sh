#!/bin/sh
# Starts postgres-1 or postgres-2 of docker-compose.yml; at the very first start it makes their data. The configuration is
# what deploy/compose.py wrote, the same for both but for the names.
#   NAME                  postgres-1, postgres-2
#   PRIMARY               whom it is copied from, if it has no data; without it, a new primary is made
#   POSTGRES_PASSWORD     of the roles scoreboard, monitor and replicator
set -eu
configuration=${CONFIGURATION:-/configuration}/$NAME
data=$(sed -n "s/^data_directory = '\(.*\)'/\1/p" "$configuration/postgresql.conf")
sockets=$(sed -n "s/^unix_socket_directories = '\"\(.*\)\"'.*/\1/p" "$configuration/postgresql.conf")
passfile=$(sed -n "s/.* passfile=\([^ ]*\) .*/\1/p" "$configuration/replica.conf")
slot=$(sed -n "s/^primary_slot_name = '\(.*\)'/\1/p" "$configuration/replica.conf")
port=$(sed -n "s/^port = //p" "$configuration/postgresql.conf")

umask 077
printf '*:*:*:replicator:%s\n' "$POSTGRES_PASSWORD" >"$passfile"

if [ ! -s "$data/PG_VERSION" ] && [ -n "${PRIMARY:-}" ]; then
	echo "copying $PRIMARY"
	rm -rf "${data:?}"
	PGPASSFILE=$passfile pg_basebackup --pgdata="$data" --dbname="host=$PRIMARY port=${PRIMARY_PORT:-5432} user=replicator" \
		--checkpoint=fast --create-slot --slot="$slot" --no-password
	touch "$data/standby.signal"
elif [ ! -s "$data/PG_VERSION" ]; then
	echo "making a new primary"
	mkdir -p "$data"
	rm -rf "$data.new" # of a start that was interrupted
	initdb --pgdata="$data.new" --username=postgres --data-checksums --encoding=UTF8 --locale-provider=builtin \
		--locale=C.UTF-8 --auth=reject --no-instructions
	cp "$configuration"/pg_hba.conf "$configuration"/pg_ident.conf "$data.new"
	# Nobody but this script, and no waiting for a standby that is not there yet.
	pg_ctl --pgdata="$data.new" --silent --wait start --options="-c listen_addresses='' -c port=$port \
		-c unix_socket_directories=$sockets -c synchronous_standby_names=''"
	psql --quiet --host="$sockets" --port="$port" --username=postgres --set=ON_ERROR_STOP=1 --set=password="$POSTGRES_PASSWORD" <<-'SQL'
		SET password_encryption = 'scram-sha-256';
		CREATE ROLE scoreboard LOGIN PASSWORD :'password';
		CREATE ROLE monitor LOGIN IN ROLE pg_monitor PASSWORD :'password';
		CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
		CREATE DATABASE scoreboard OWNER scoreboard;
	SQL
	psql --quiet --host="$sockets" --port="$port" --username=postgres --set=ON_ERROR_STOP=1 --file="$configuration/role.sql"
	pg_ctl --pgdata="$data.new" --silent --wait --mode=fast stop
	rmdir "$data"
	mv "$data.new" "$data" # whole or not at all
fi
exec postgres -D "$data" -c config_file="$configuration/postgresql.conf"
