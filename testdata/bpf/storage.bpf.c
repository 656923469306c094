/* Storage that belongs to a task, a socket, an inode, a cgroup.
 *
 * expect: `task` counts the runs of the process that runs it, from `first` on if the storage is made; `forget` takes the storage away;
 * `socket` counts the runs on the socket of one test run. */
#include "bpf.h"

#define CREATE 1 /* BPF_LOCAL_STORAGE_GET_F_CREATE */

static void *(*const bpf_get_current_task_btf)(void) = (void *)BPF_FUNC_get_current_task_btf;
static void *(*const bpf_task_storage_get)(void *map, void *task, void *value, __u64 flags) =
	(void *)BPF_FUNC_task_storage_get;
static long (*const bpf_task_storage_delete)(void *map, void *task) = (void *)BPF_FUNC_task_storage_delete;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)BPF_FUNC_sk_storage_get;
static long (*const bpf_sk_storage_delete)(void *map, void *sk) = (void *)BPF_FUNC_sk_storage_delete;
static struct bpf_sock *(*const bpf_sk_fullsock)(struct bpf_sock *sk) = (void *)BPF_FUNC_sk_fullsock;

struct runs {
	__u64 count;
	__u64 more[3];
};

#define STORAGE(kind)                                  \
	struct {                                       \
		__uint(type, kind);                    \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
		__type(key, int);                      \
		__type(value, struct runs);            \
	}

STORAGE(BPF_MAP_TYPE_TASK_STORAGE) tasks SEC(".maps");
STORAGE(BPF_MAP_TYPE_SK_STORAGE) sockets SEC(".maps");
STORAGE(BPF_MAP_TYPE_INODE_STORAGE) inodes SEC(".maps");
STORAGE(32 /* BPF_MAP_TYPE_CGRP_STORAGE */) cgroups SEC(".maps");

/* What the storage begins with, how it is asked for, and what the program found. */
__u64 first = 0;
__u64 flags = 0;
__u64 found = 0;
__s64 removed = 0;

SEC("syscall")
int task(void *context)
{
	struct runs initial = {.count = first};
	struct runs *runs = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), first ? &initial : 0, flags);

	(void)context;
	found = 0;
	if (runs) {
		runs->count += 1;
		found = runs->count;
	}
	return 0;
}

SEC("syscall")
int forget(void *context)
{
	(void)context;
	removed = bpf_task_storage_delete(&tasks, bpf_get_current_task_btf());
	return 0;
}

SEC("cgroup_skb/egress")
int socket(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct runs *runs;

	found = 0;
	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	runs = bpf_sk_storage_get(&sockets, sk, 0, CREATE);
	if (!runs)
		return 1;
	runs->count += 1;
	found = runs->count;
	if (runs->count == 3)
		removed = bpf_sk_storage_delete(&sockets, sk);
	return 1;
}

LICENSE("GPL");
