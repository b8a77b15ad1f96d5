/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/retry.h"

bool lcm_retry_status(long status)
{
	switch (status) {
	case 408:
	case 425:
	case 429:
		return true;
	case 501:
	case 505:
		return false;
	default:
		return status >= 500 && status <= 599;
	}
}

enum lcm_transport lcm_retry_transport(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_SSL_CONNECT_ERROR:
		return LCM_TRANSPORT_UNLIKELY;
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_AGAIN:
	case CURLE_NO_CONNECTION_AVAILABLE:
		return LCM_TRANSPORT_RETRY;
	default:
		return LCM_TRANSPORT_FATAL;
	}
}

uint64_t lcm_retry_delay_ms(uint32_t attempt, uint32_t base_ms, uint64_t rnd, int64_t after_s)
{
	uint32_t shift = LCM_MIN(attempt ? attempt - 1 : 0, 20U);
	uint64_t pause = LCM_MIN((uint64_t)base_ms << shift, (uint64_t)LCM_BACKOFF_MAX_MS);
	uint64_t asked;

	pause = pause / 2 + rnd % (pause / 2 + 1);
	if (after_s < 0)
		return pause;
	asked = LCM_MIN((uint64_t)after_s, (uint64_t)LCM_RETRY_AFTER_CAP_MS / 1000) * 1000;
	asked += rnd % (asked / 8 + 1);
	return LCM_MAX(pause, asked);
}

static int code_connect(const char *host, const char *detail, long os_errno, struct lcm_err *err)
{
	if (os_errno == ECONNREFUSED)
		return lcm_err_set(err, -ECONNREFUSED,
				   "%s refused the connection; is the registry running?", host);
	return lcm_err_set(err, -EHOSTUNREACH, "cannot connect to %s: %s", host, detail);
}

int lcm_retry_code(CURLcode code, const char *host, const char *detail, long os_errno,
		   struct lcm_err *err)
{
	if (!detail[0])
		detail = curl_easy_strerror(code);
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		return code_connect(host, detail, os_errno, err);
	case CURLE_COULDNT_RESOLVE_HOST:
		return lcm_err_set(err, -EHOSTUNREACH,
				   "cannot resolve host name of %s; check the name and the DNS",
				   host);
	case CURLE_COULDNT_RESOLVE_PROXY:
		return lcm_err_set(err, -EHOSTUNREACH,
				   "cannot resolve the proxy's name: %s; check the proxy option",
				   detail);
	case CURLE_OPERATION_TIMEDOUT:
		return lcm_err_set(err, -ETIMEDOUT, "%s: %s", host, detail);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return lcm_err_set(err, -EPROTO,
				   "%s: TLS certificate not trusted (%s); name the registry's CA "
				   "with the ca_file option, or in its hosts.toml",
				   host, detail);
	case CURLE_SSL_CONNECT_ERROR:
		return lcm_err_set(err, -EHOSTUNREACH,
				   "%s: TLS handshake failed (%s); if it speaks plain http, list "
				   "it in insecure_hosts",
				   host, detail);
	case CURLE_SSL_CERTPROBLEM:
		return lcm_err_set(err, -EPROTO, "the client certificate for %s cannot be used: %s",
				   host, detail);
	case CURLE_OUT_OF_MEMORY:
		return lcm_err_set(err, -ENOMEM, "out of memory");
	case CURLE_PARTIAL_FILE:
		return lcm_err_set(err, -EHOSTUNREACH,
				   "%s closed the connection before the end of the body", host);
	default:
		return lcm_err_set(
		    err, lcm_retry_transport(code) == LCM_TRANSPORT_FATAL ? -EPROTO : -EHOSTUNREACH,
		    "%s: %s", host, detail);
	}
}
