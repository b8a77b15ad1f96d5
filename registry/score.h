/* SPDX-License-Identifier: Apache-2.0 */
/*
 * score.h - how loaded a host is, who gets the next transfer, and whether one that runs moves.
 *
 * A score is about the milliseconds until one more byte would be here. It is made of integers only:
 * equal inputs give equal scores, whoever computes them. Two factors, the first counts three times
 * the second:
 *   queue    bytes in flight over the throughput that was measured
 *   history  time to the first byte, and failures
 *
 * Layer: registry. Pure. Threads: any.
 */
#ifndef LCM_SCORE_H
#define LCM_SCORE_H

#include "src/base/base.h"

#define LCM_SCORE_QUEUE_WEIGHT 3U
#define LCM_SCORE_HISTORY_WEIGHT 1U
/* Throughput of one that was not measured yet, bytes/s: neither a reason to go there nor to stay
 * away. */
#define LCM_SCORE_UNKNOWN_BPS (10ULL << 20)
/* Of each transfer at most so many bytes are in flight: a long one is no burden before its time. */
#define LCM_SCORE_WINDOW (4ULL << 20)
/* What a failure costs its host: each thousandth of failures is so many ms of history. */
#define LCM_SCORE_ERROR_MS 10U
/* Nobody's score is lower: who is as good as idle is as good as another, and the order of the file
 * decides. */
#define LCM_SCORE_IDLE 100U
/* A host with this score is overloaded. */
#define LCM_SCORE_OVERLOAD 10000U
/* Work moves when (hi - lo) / hi is over this, in thousandths; at it, nothing does. */
#define LCM_SCORE_SPREAD 300U
/* A move that was made is given so long to show what it did. */
#define LCM_SCORE_REST_NS 5000000000ULL

/* What is known of a host. Zero: nothing. */
struct lcm_load {
	uint64_t in_flight;  /* bytes asked for that have not come */
	uint64_t bps;        /* bytes per second while it was busy; 0: not measured */
	uint32_t latency_ms; /* to the first byte */
	uint32_t errors;     /* thousandths of the transfers */
};

/** lcm_score - of a host that has @more bytes to bring in addition. Return:
 * LCM_SCORE_IDLE to UINT32_MAX. */
uint32_t lcm_score(const struct lcm_load *l, uint64_t more);

/* What came of looking at all hosts, in the order in which it is looked at. */
enum lcm_balance {
	LCM_BALANCE_ALONE,      /* fewer than two hosts */
	LCM_BALANCE_OVERLOADED, /* all of them: nothing moves */
	LCM_BALANCE_LEVEL,      /* the spread is not over the threshold */
	LCM_BALANCE_RESTING,    /* it is, but the last move is too fresh */
	LCM_BALANCE_FULL,       /* a move would overload the lowest, or only change their places */
	LCM_BALANCE_MOVE,
	LCM_BALANCE_MAX,
};

struct lcm_balance_host {
	struct lcm_load load;
	uint64_t
	    piece; /* bytes of the transfer it would give away, as they count in load; 0: none */
};

struct lcm_decision {
	enum lcm_balance what;
	size_t from, to; /* the highest and the lowest; of equals the first */
	uint32_t hi, lo; /* their scores */
	uint32_t spread; /* thousandths */
};

/** lcm_balance_name - a literal, for people and logs. */
const char *lcm_balance_name(enum lcm_balance b);
/**
 * lcm_balance - shall a transfer move from one host to another?
 * @h:        @n hosts of equal rank
 * @moved_ns: when the last move was made; 0: never
 *
 * score all -> is at least one not overloaded -> sort -> is the spread over LCM_SCORE_SPREAD -> is
 * the last move old enough -> does the move leave nobody overloaded, and the taker's score lower
 * than the giver's was by more than LCM_SCORE_SPREAD.
 */
struct lcm_decision lcm_balance(const struct lcm_balance_host *h, size_t n, uint64_t moved_ns,
				uint64_t now_ns);
/**
 * lcm_score_pick - who gets a transfer of @bytes
 * @l: @n loads, most wanted first
 *
 * The first that is not overloaded with it, unless the score of a later one is lower by more than
 * LCM_SCORE_SPREAD. With all overloaded, the lowest. Return: its index; @n with none.
 */
size_t lcm_score_pick(const struct lcm_load *l, size_t n, uint64_t bytes);

#endif
