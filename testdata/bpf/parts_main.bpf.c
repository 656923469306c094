/* One half of a program: it uses a map, variables and functions of the other half, `parts_rest.bpf.c`.
 *
 * expect: linked, `count` answers limit + offset_of(2) + the weak answer of the other half + its own static answer: 1000 + 12 + 7 + 5
 * expect: the slot 0 of `tallies` has one more packet; `seen` counts the runs, `own` (static in both) 3 a run here */
#include "parts.h"

extern struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct tally);
} tallies __attribute__((section(".maps")));

extern __u64 seen;
extern const volatile __u32 limit;
extern __u32 offset_of(__u32 index);
extern void note(struct tally *tally, __u32 bytes);

/* Without a name that others see: the other half has its own. */
static volatile __u64 own = 100;

static NOINLINE __u32 local_answer(void)
{
	__u32 answer = 5;

	OPAQUE(answer);
	return answer;
}

/* The other half knows better. */
__attribute__((weak)) NOINLINE __u32 best_answer(void)
{
	__u32 answer = 1;

	OPAQUE(answer);
	return answer;
}

SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct tally *tally = bpf_map_lookup_elem(&tallies, &key);

	if (!tally)
		return 0;
	note(tally, skb->len);
	seen++;
	own += 3;
	return limit + offset_of(2) + best_answer() + local_answer();
}

LICENSE("GPL");
