# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# ways.sh - one store of docker-registry behind every way by which registries are reached. Source it after tap.sh,
# images.sh and daemon.sh, then:
#
#   ways_begin DIR     makes keys and passwords; an open registry that stores in DIR: WAYS_OPEN (HOST:PORT), for pushing
#   ways_start WAY     WAY: open, password, token, tls (with passwords), redirect (blobs are at another host) or no-range
#                      (every range is answered with the whole blob). WAY_HOST; WAY_OPTIONS are the daemon's
#   ways_list          all of them
#
# docker-registry and nginx do it; only the token service is of the tests. Everything ends with the test.

ways_list()
{
	echo open password token tls redirect no-range
}

# NAME: the port that the last line of DIR/NAME.log says docker-registry listens on
ways_port()
{
	tap_until 20 grep -q 'listening on 127' "$WAYS_DIR/$1.log" || return 1
	sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$WAYS_DIR/$1.log" | tail -n 1
}

# NAME YAML...: another docker-registry of the same store
ways_registry()
{
	ways_name=$1
	shift
	{
		printf 'version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s/data}}\n' "$WAYS_DIR"
		printf '%s\n' "$@"
	} >"$WAYS_DIR/$ways_name.yml"
	OTEL_TRACES_EXPORTER=none docker-registry serve "$WAYS_DIR/$ways_name.yml" >"$WAYS_DIR/$ways_name.log" 2>&1 </dev/null &
	tap_cleanup "tap_kill $!"
	ways_got=$(ways_port "$ways_name") || return 1
	WAY_HOST=127.0.0.1:$ways_got
}

ways_keys()
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=127.0.0.1' -addext 'subjectAltName=IP:127.0.0.1' \
		-keyout "$WAYS_DIR/key" -out "$WAYS_DIR/crt" >"$WAYS_DIR/openssl.log" 2>&1 &&
		htpasswd -Bbc "$WAYS_DIR/htpasswd" user secret 2>>"$WAYS_DIR/openssl.log"
}

ways_begin()
{
	WAYS_DIR=$1
	mkdir -p "$WAYS_DIR" && ways_keys && ways_registry open "http: {addr: '127.0.0.1:0'}" || return 1
	# shellcheck disable=SC2034
	WAYS_OPEN=$WAY_HOST
}

ways_auth()
{
	printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$WAY_HOST" "$(printf user:secret | base64)" >"$WAYS_DIR/auth.json"
	WAY_OPTIONS="$WAY_OPTIONS --authfile $WAYS_DIR/auth.json"
}

# A free port stays free for as long as it takes nginx to bind it: nobody else of this test asks for one meanwhile.
ways_free_port()
{
	python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# SERVER...: nginx with these server blocks
ways_nginx()
{
	cat >"$WAYS_DIR/nginx.conf" <<-END
		daemon off; user root; pid $WAYS_DIR/nginx.pid; error_log $WAYS_DIR/nginx.log;
		events {}
		http { access_log off; client_body_temp_path $WAYS_DIR/t1; proxy_temp_path $WAYS_DIR/t2; fastcgi_temp_path $WAYS_DIR/t3;
		uwsgi_temp_path $WAYS_DIR/t4; scgi_temp_path $WAYS_DIR/t5;
		$*
		}
	END
	nginx -c "$WAYS_DIR/nginx.conf" 2>>"$WAYS_DIR/nginx.log" </dev/null &
	ways_nginx_pid=$!
	tap_cleanup "tap_kill $ways_nginx_pid"
	tap_until 10 curl -sf -o /dev/null "http://$WAY_HOST/v2/"
}

ways_redirect()
{
	ways_files=$(ways_free_port)
	ways_nginx "server { listen $WAY_HOST;
		location ~ ^/v2/.+/blobs/sha256:(..)([0-9a-f]+)\$ { return 307 http://localhost:$ways_files/sha256/\$1/\$1\$2/data; }
		location / { proxy_pass http://$WAYS_OPEN; proxy_set_header Host \$http_host; } }
		server { listen 127.0.0.1:$ways_files; root $WAYS_DIR/data/docker/registry/v2/blobs; }"
}

ways_start()
{
	WAY_OPTIONS=
	case $1 in
	open) WAY_HOST=$WAYS_OPEN ;;
	password)
		ways_registry "$1" "http: {addr: '127.0.0.1:0'}" "auth: {htpasswd: {realm: r, path: $WAYS_DIR/htpasswd}}" && ways_auth
		;;
	tls)
		ways_registry "$1" "http: {addr: '127.0.0.1:0', tls: {certificate: $WAYS_DIR/crt, key: $WAYS_DIR/key}}" \
			"auth: {htpasswd: {realm: r, path: $WAYS_DIR/htpasswd}}" && ways_auth && WAY_OPTIONS="$WAY_OPTIONS --ca-file $WAYS_DIR/crt"
		;;
	token)
		/usr/bin/python3 "$LCM_LIB/tokens.py" "$WAYS_DIR/key" "$WAYS_DIR/crt" user:secret >"$WAYS_DIR/tokens" 2>"$WAYS_DIR/tokens.log" </dev/null &
		tap_cleanup "tap_kill $!"
		tap_until 10 test -s "$WAYS_DIR/tokens" &&
			ways_registry "$1" "http: {addr: '127.0.0.1:0'}" "auth: {token: {realm: 'http://127.0.0.1:$(cat "$WAYS_DIR/tokens")/token', service: locum, issuer: tests, rootcertbundle: $WAYS_DIR/crt}}" && ways_auth
		;;
	redirect)
		WAY_HOST=127.0.0.1:$(ways_free_port)
		ways_redirect
		;;
	no-range)
		WAY_HOST=127.0.0.1:$(ways_free_port)
		ways_nginx "server { listen $WAY_HOST;
			location / { proxy_pass http://$WAYS_OPEN; proxy_set_header Host \$http_host; proxy_set_header Range ''; } }"
		;;
	esac
}
