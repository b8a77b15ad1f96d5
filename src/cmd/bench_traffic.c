/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_traffic.c - bytes received by a group of processes, whoever they are: a cgroup of our own
 * with a program of a few instructions that adds up the length of every packet.
 *
 * Source: Documentation/bpf/prog_cgroup_*.rst, bpf(2), cgroups(7).
 */
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "src/base/sys.h"
#include "src/cmd/bench.h"

#define INSN(c, d, s, o, i)                                                                        \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })

struct bench_traffic {
	int map;
};

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return (int)lcm_errno(syscall(SYS_bpf, cmd, attr, sizeof(*attr)));
}

static int make_map(void)
{
	union bpf_attr a = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1
	};

	return bpf(BPF_MAP_CREATE, &a);
}

/* sum += skb->len; let it pass. */
static int load(int map)
{
	const struct bpf_insn code[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_6, BPF_REG_1,
		     offsetof(struct __sk_buff, len), 0),
		INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 1, 0),
		INSN(BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_0, BPF_REG_6, 0, BPF_ADD),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr a = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SKB,
		.expected_attach_type = BPF_CGROUP_INET_INGRESS,
		.insns = (uintptr_t)code,
		.insn_cnt = LCM_ARRAY_SIZE(code),
		.license = (uintptr_t) "GPL",
	};

	return bpf(BPF_PROG_LOAD, &a);
}

/* The hierarchy is mounted in our own namespace: where the host has it does not matter. */
static int enter_cgroup(const char *dir, uint32_t id)
{
	lcm_autoclose int procs = -EBADF;
	char path[400];
	int r;

	(void)snprintf(path, sizeof(path), "%s/cgroup", dir);
	r = lcm_mkdir_p(path, 0700);
	if (r == 0)
		r = (int)lcm_errno(
		    mount("locum-bench", path, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/cgroup/locum-bench.%u", dir, id);
	r = lcm_sys_mkdirat(AT_FDCWD, path, 0755);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/cgroup/locum-bench.%u/cgroup.procs", dir, id);
	procs = lcm_sys_openat(AT_FDCWD, path, O_WRONLY, 0);
	if (procs < 0)
		return procs;
	r = lcm_sys_write_full(procs, "0", 1);
	if (r < 0)
		return r;
	*strrchr(path, '/') = '\0';
	return lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
}

struct bench_traffic *bench_traffic_new(const char *dir, uint32_t id)
{
	lcm_autoclose int map = make_map();
	lcm_autoclose int prog = map < 0 ? map : load(map);
	lcm_autoclose int cgroup = prog < 0 ? prog : enter_cgroup(dir, id);
	union bpf_attr a = { .target_fd = (uint32_t)cgroup,
			     .attach_bpf_fd = (uint32_t)prog,
			     .attach_type = BPF_CGROUP_INET_INGRESS };
	struct bench_traffic *t;

	if (cgroup < 0 || bpf(BPF_PROG_ATTACH, &a) < 0)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (t)
		t->map = lcm_steal_fd(&map);
	return t;
}

uint64_t bench_traffic_bytes(const struct bench_traffic *t)
{
	uint32_t key = 0;
	uint64_t value = 0;
	union bpf_attr a = { .map_fd = (uint32_t)t->map,
			     .key = (uintptr_t)&key,
			     .value = (uintptr_t)&value };

	return bpf(BPF_MAP_LOOKUP_ELEM, &a) < 0 ? 0 : value;
}

void bench_traffic_remove(const char *dir, uint32_t id)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/cgroup", dir);
	if (mount("locum-bench", path, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/cgroup/locum-bench.%u", dir, id);
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
	(void)snprintf(path, sizeof(path), "%s/cgroup", dir);
	(void)umount2(path, MNT_DETACH);
}
