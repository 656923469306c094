/* The other half of a program: see `parts_main.bpf.c`.
 *
 * expect: `second` answers its own static answer, 9, plus the entry 1 of the table of constants, 4 */
#include "parts.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

__u64 seen;
const volatile __u32 limit = 1000;

static volatile __u64 own = 200;
static const volatile __u32 table[4] = { 2, 4, 12, 20 };

static NOINLINE __u32 local_answer(void)
{
	__u32 answer = 9;

	OPAQUE(answer);
	return answer;
}

NOINLINE __u32 best_answer(void)
{
	__u32 answer = 7;

	OPAQUE(answer);
	return answer;
}

NOINLINE __u32 offset_of(__u32 index)
{
	return table[index & 3];
}

/* Hidden: a global function would be verified alone, where its pointer may be null. */
__attribute__((visibility("hidden"))) NOINLINE void note(struct tally *tally, __u32 bytes)
{
	tally->packets++;
	tally->bytes += bytes;
}

SEC("socket")
int second(struct __sk_buff *skb)
{
	(void)skb;
	own += 7;
	return local_answer() + table[1];
}

/* The kernel's own type: the access is adapted wherever linking moved this code. */
SEC("raw_tp/kfree_skb")
int length_is_at(void *context)
{
	(void)context;
	return __builtin_preserve_field_info(((struct sk_buff *)0)->len, 0);
}

LICENSE("GPL");
