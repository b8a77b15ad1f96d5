/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/engine.h"

#include "src/base/sys.h"
#include "src/daemon/layer.h"

/*
 * One burst of demand holds background back for at most so long. After that it is no start any more
 * but bulk reading, which the pull in order serves better than file by file.
 */
#define STARVE_NS 2000000000ULL
#define BURST_GAP_NS                                                                               \
	1000000000ULL /* demand that comes again after less than this is the same burst */

/* Below this wait there is nothing to win beside demand, and the noise of the machine is larger
 * than the rule. */
#define SHARE_MIN_NS 10000000ULL
#define SHARE_FIRST 2U /* demands that show how long the way is */
#define SHARE_AFTER_MAX 1024U

static void on_resume(void *arg)
{
	struct lcm_engine *e = arg;

	lcm_demand_pump(e);
	lcm_pull_kick_all(e);
}

int lcm_engine_init(struct lcm_engine *e)
{
	return lcm_timer_new(e->loop, on_resume, e, &e->resume);
}

void lcm_engine_fini(struct lcm_engine *e)
{
	lcm_timer_free(e->resume);
	e->resume = NULL;
}

static void on_swept(void *arg)
{
	struct lcm_engine *e = arg;

	e->sweeping = false;
	if (e->sweep_again)
		lcm_engine_sweep(e);
}

static void sweep_job(void *arg)
{
	struct lcm_engine *e = arg;

	lcm_ignore(lcm_store_sweep(e->store));
	e->sweep.fn = on_swept;
	lcm_loop_post_task(e->loop, &e->sweep);
}

void lcm_engine_sweep(struct lcm_engine *e)
{
	e->sweep_again = e->sweeping;
	if (e->sweeping || e->closing)
		return;
	e->sweeping = true;
	e->sweep = (struct lcm_task){ .fn = sweep_job, .arg = e };
	lcm_pool_submit(e->pool, LCM_POOL_SLOW, &e->sweep);
}

void lcm_engine_demand_begin(struct lcm_engine *e, uint64_t bytes)
{
	if (e->spans == 0 && lcm_now_ns() >= e->quiet_until_ns + BURST_GAP_NS)
		e->starved_since_ns = 0;
	e->spans++;
	e->span_bytes += bytes;
	if (e->spans == 1)
		lcm_pull_kick_all(e);
}

void lcm_engine_demand_end(struct lcm_engine *e, uint64_t bytes)
{
	e->spans--;
	e->span_bytes -= bytes;
	e->quiet_until_ns = lcm_now_ns() + e->cfg.hold_ns;
	if (e->spans == 0)
		lcm_timer_set(e->resume, e->cfg.hold_ns);
}

/* Background delays demand when the first byte comes an eighth later than it could. */
void lcm_engine_first_byte(struct lcm_engine *e, uint64_t ns)
{
	if (!e->first_byte_ns || ns < e->first_byte_ns)
		e->first_byte_ns = ns;
	if (!e->share_after)
		e->share_after = SHARE_FIRST;
	if (e->sharing && ns - e->first_byte_ns > e->first_byte_ns / 8) {
		e->sharing = false;
		e->clean = 0;
		e->share_after = LCM_MIN(e->share_after * 4, SHARE_AFTER_MAX);
		lcm_pull_kick_all(e);
	} else if (!e->sharing && ++e->clean >= e->share_after &&
		   e->first_byte_ns >= SHARE_MIN_NS) {
		e->sharing = true;
		lcm_pull_kick_all(e);
	}
}

void lcm_engine_mounted(struct lcm_engine *e)
{
	e->quiet_until_ns = LCM_MAX(e->quiet_until_ns, lcm_now_ns() + e->cfg.grace_ns);
	e->starved_since_ns = 0;
}

bool lcm_engine_yield(struct lcm_engine *e)
{
	uint64_t now = lcm_now_ns();
	bool busy = !e->sharing && (e->spans > 0 || now < e->quiet_until_ns);

	if (!busy)
		return false;
	if (!e->starved_since_ns)
		e->starved_since_ns = now;
	if (now - e->starved_since_ns >= STARVE_NS)
		return false;
	if (!lcm_timer_armed(e->resume))
		lcm_timer_set(e->resume,
			      e->quiet_until_ns > now ? e->quiet_until_ns - now : e->cfg.hold_ns);
	return true;
}
