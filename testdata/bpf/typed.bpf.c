/* What the kernel accepts only if it knows the object's types: a lock in a map's value, a callback, a global function that is
 * verified on its own, a declaration of a kernel function with a nameless parameter. Static and global data in one section.
 * expect: maps locked .data .bss, all of it accepted by the kernel */
#include "bpf.h"

static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)BPF_FUNC_spin_lock;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)BPF_FUNC_spin_unlock;
static long (*const bpf_loop)(__u32 count, void *callback, void *context, __u64 flags) = (void *)BPF_FUNC_loop;

extern void bpf_rcu_read_lock(void) __attribute__((section(".ksyms"), weak));
extern struct task_struct *bpf_task_from_pid(int) __attribute__((section(".ksyms"), weak));

struct counter {
	struct bpf_spin_lock lock;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(max_entries, 1);
} locked SEC(".maps");

static volatile __u32 first = 1;
volatile __u64 second = 2;
volatile __u8 third = 3;
volatile __u32 rounds;

NOINLINE int weigh(__u32 length)
{
	return length * first + second;
}

static long count_one(__u64 index, void *context)
{
	(void)index;
	(void)context;
	rounds++;
	return 0;
}

SEC("tc")
int typed(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct counter *counter = bpf_map_lookup_elem(&locked, &key);

	if (!counter)
		return 0;
	bpf_spin_lock(&counter->lock);
	counter->count++;
	bpf_spin_unlock(&counter->lock);
	bpf_loop(3, count_one, 0, 0);
	return weigh(skb->len) + third;
}

/* Two references nobody follows, for their declarations only. */
SEC("?syscall")
int declares(void *context)
{
	(void)context;
	if (bpf_task_from_pid)
		bpf_rcu_read_lock();
	return 0;
}

LICENSE("GPL");
