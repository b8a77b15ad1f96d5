#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# auth.sh BUILDDIR - docker-registry with passwords and TLS: credentials of an auth file, a CA of one's own.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin auth 100
daemon_begin "${1:?usage: auth.sh BUILDDIR}"
for tool in docker-registry htpasswd openssl skopeo umoci; do
	command -v "$tool" >/dev/null || tap_skip_all "$tool is not installed"
done
IMG=$TAP_DIR/img
MNT=$TAP_DIR/mnt
AUTH=$TAP_DIR/auth.json
mkdir "$MNT" "$TAP_DIR/reg" "$TAP_DIR/tls"

certificates()
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=locum test CA' -keyout "$TAP_DIR/tls/ca.key" \
		-out "$TAP_DIR/tls/ca.crt" &&
		openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout "$TAP_DIR/tls/key" -out "$TAP_DIR/tls/csr" &&
		printf 'subjectAltName=IP:127.0.0.1\n' >"$TAP_DIR/tls/ext" &&
		openssl x509 -req -in "$TAP_DIR/tls/csr" -CA "$TAP_DIR/tls/ca.crt" -CAkey "$TAP_DIR/tls/ca.key" -CAcreateserial \
			-days 2 -extfile "$TAP_DIR/tls/ext" -out "$TAP_DIR/tls/crt"
}

secure_registry()
{
	cat >"$TAP_DIR/reg/config.yml" <<-END
		version: 0.1
		log: {level: info}
		storage: {filesystem: {rootdirectory: $TAP_DIR/reg/data}}
		http: {addr: '127.0.0.1:0', tls: {certificate: $TAP_DIR/tls/crt, key: $TAP_DIR/tls/key}}
		auth: {htpasswd: {realm: locum, path: $TAP_DIR/reg/htpasswd}}
	END
	OTEL_TRACES_EXPORTER=none docker-registry serve "$TAP_DIR/reg/config.yml" >"$TAP_DIR/reg/log" 2>&1 </dev/null &
	REG_PID=$!
	tap_cleanup "tap_kill $REG_PID"
	tap_until 15 grep -q 'listening on 127' "$TAP_DIR/reg/log" || return 1
	HOST=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$TAP_DIR/reg/log")
}

auth_file()
{
	# HOST USER:PASSWORD
	printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$1" "$(printf '%s' "$2" | base64)" >"$AUTH"
}

again()
{
	daemon_stop && rm -rf --one-file-system "$LOCUM_ROOT" && daemon_start "$@"
}

tap_ok 'a small image' small_image "$IMG"
tap_ok 'certificates' certificates
tap_ok 'htpasswd' htpasswd -Bbc "$TAP_DIR/reg/htpasswd" user 'pass:word/1'
tap_ok 'docker-registry with TLS and passwords' secure_registry
tap_ok 'push' images_skopeo copy -q --dest-tls-verify=false --dest-creds 'user:pass:word/1' "oci:$IMG/zc:t" "docker://$HOST/a/small:t"
tap_ok 'push gzip' images_skopeo copy -q --dest-tls-verify=false --dest-creds 'user:pass:word/1' "oci:$IMG/gzip:t" "docker://$HOST/a/gz:t"

daemon_start
says 'an unknown CA' 1 'certificate.*(--ca-file)?' "$LOCUM" pull "$HOST/a/small:t"
tap_like 'the way out is named' "$(cat "$TAP_DIR/err")" 'ca-file|CA|trust'
tap_ok 'nothing is left' daemon_clean
tap_ok 'daemon with --ca-file, no credentials' again --ca-file "$TAP_DIR/tls/ca.crt"
says 'no credentials: 401' 1 "$HOST.*(401|log in|login|credential|authori)" "$LOCUM" mount "$HOST/a/small:t" "$MNT"
tap_ok 'nothing is left' daemon_clean
auth_file "$HOST" 'user:wrong'
tap_ok 'daemon with a wrong password' again --ca-file "$TAP_DIR/tls/ca.crt" --authfile "$AUTH"
says 'wrong password: 401' 1 "$HOST.*(401|password|credential|refuse)" "$LOCUM" mount "$HOST/a/small:t" "$MNT"
tap_is 'the password is not in the text' "$(grep -c 'wrong' "$TAP_DIR/err")" 0
tap_is 'nor in the log' "$(grep -c 'user:wrong' "$TAP_DIR/daemon.log")" 0
tap_ok 'nothing is left' daemon_clean
auth_file "$HOST" 'user:pass:word/1'
tap_ok 'daemon with --authfile' again --ca-file "$TAP_DIR/tls/ca.crt" --authfile "$AUTH"
tap_ok 'lazy mount' tap_limit 30 "$LOCUM" mount --id tls "$HOST/a/small:t" "$MNT"
tap_ok 'native' tap_limit 40 "$LOCUM" wait --timeout 35 tls
tap_ok 'the tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove tls
tap_ok 'pull of gzip layers' tap_limit 30 "$LOCUM" pull "$HOST/a/gz:t"
says 'another repository: 404' 1 "$HOST/a/none.*(404|not in)" "$LOCUM" pull "$HOST/a/none:t"
REGISTRY_AUTH_FILE=$AUTH
export REGISTRY_AUTH_FILE
tap_ok 'daemon with REGISTRY_AUTH_FILE' again --ca-file "$TAP_DIR/tls/ca.crt"
tap_ok 'pull' tap_limit 30 "$LOCUM" pull "$HOST/a/small:t"
unset REGISTRY_AUTH_FILE
mkdir "$TAP_DIR/docker" && mv "$AUTH" "$TAP_DIR/docker/config.json"
DOCKER_CONFIG=$TAP_DIR/docker
export DOCKER_CONFIG
tap_ok "daemon with docker's config.json" again --ca-file "$TAP_DIR/tls/ca.crt"
tap_ok 'pull' tap_limit 30 "$LOCUM" pull "$HOST/a/small:t"
printf '{"auths": ' >"$TAP_DIR/docker/config.json"
tap_ok 'daemon with a damaged config.json' again --ca-file "$TAP_DIR/tls/ca.crt"
says 'the damaged file is named' 1 'config.json|401|log in|credential' "$LOCUM" pull "$HOST/a/small:t"
tap_ok 'nothing is left' daemon_clean
mkdir "$TAP_DIR/bin"
helper=$TAP_DIR/bin/docker-credential-itest
cat >"$helper" <<-'END'
	#!/bin/sh
	cat >"${0%/*}/asked"
	printf '{"ServerURL": "x", "Username": "user", "Secret": "pass:word/1"}'
END
chmod +x "$helper"
PATH=$TAP_DIR/bin:$PATH
printf '{"credsStore": "itest", "auths": {"%s": {}}}' "$HOST" >"$TAP_DIR/docker/config.json"
tap_ok 'daemon with a credential helper' again --ca-file "$TAP_DIR/tls/ca.crt"
tap_ok 'pull' tap_limit 30 "$LOCUM" pull "$HOST/a/small:t"
tap_is 'it was asked for the registry' "$(cat "$TAP_DIR/bin/asked")" "$HOST"
tap_is 'its secret is not in the log' "$(grep -c 'pass:word' "$TAP_DIR/daemon.log")" 0
printf '#!/bin/sh\necho no session; exit 1\n' >"$helper"
tap_ok 'one that fails' again --ca-file "$TAP_DIR/tls/ca.crt"
says 'says why' 1 'asks docker-credential-itest.*docker-credential-itest: no session' "$LOCUM" pull "$HOST/a/small:t"
rm "$helper"
says 'one that is not there, too' 1 'docker-credential-itest: it is not installed' "$LOCUM" pull "$HOST/a/gz:t"
tap_ok 'nothing is left' daemon_clean

# ---- a credential provider as the kubelet's ----
unset DOCKER_CONFIG
provider=$TAP_DIR/bin/itest-provider
config=$TAP_DIR/providers.yaml
cat >"$provider" <<-'END'
	#!/bin/sh
	cat >>"${0%/*}/requests"
	echo " $* $REGION" >>"${0%/*}/requests"
	printf '{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse", "cacheKeyType": "Registry",
		"auth": {"%s": {"username": "user", "password": "pass:word/1"}}}' '*.0.0.1:'"$PORT"
END
chmod +x "$provider"
cat >"$config" <<-END
	apiVersion: kubelet.config.k8s.io/v1
	kind: CredentialProviderConfig
	providers:
	  - name: itest-provider
	    apiVersion: credentialprovider.kubelet.k8s.io/v1
	    matchImages: ["127.0.*.1:${HOST##*:}/a"]
	    defaultCacheDuration: 1h
	    args: [get]
	    env:
	      - {name: REGION, value: here}
	      - {name: PORT, value: "${HOST##*:}"}
END
with_provider()
{
	again --ca-file "$TAP_DIR/tls/ca.crt" --image-credential-provider-config "$config" --image-credential-provider-bin-dir "$TAP_DIR/bin"
}
tap_ok 'daemon with a credential provider' with_provider
tap_ok 'pull' tap_limit 30 "$LOCUM" pull "$HOST/a/small:t"
tap_ok 'of another repository' tap_limit 30 "$LOCUM" pull "$HOST/a/gz:t"
tap_is 'it was asked once, for an image' "$(cat "$TAP_DIR/bin/requests")" \
	'{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"'"$HOST"'/a/small"} get here'
says 'not where it is not meant' 1 'without credentials' "$LOCUM" pull "$HOST/b/small:t"
tap_is 'its secret is not in the log' "$(grep -c 'pass:word' "$TAP_DIR/daemon.log")" 0
printf '#!/bin/sh\necho no session >&2; exit 1\n' >"$provider"
tap_ok 'one that fails' with_provider
says 'says why' 1 'itest-provider: no session \(status 1\)' "$LOCUM" pull "$HOST/a/small:t"
tap_ok 'daemon ends' daemon_stop
says 'one of the two options' 2 'go together' "$LOCUM" daemon --image-credential-provider-config "$config"
echo more: 1 >>"$config"
says 'a configuration that is wrong' 1 'providers.yaml: CredentialProviderConfig: "more" is not understood' "$LOCUM" daemon \
	--image-credential-provider-config "$config" --image-credential-provider-bin-dir "$TAP_DIR/bin"
tap_end
