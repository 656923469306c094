/* Global variables of every kind of section.
 *
 * expect: each frame adds `step` to `seen` and 1 to a slot of `slots`; a long frame (over `limit` bytes) only counts as
 * expect: such, and the answer is 1. `pick` answers the byte of the constant table that the first byte of the frame names. */
#include "bpf.h"

/* .rodata: fixed when the object is loaded, so that the verifier knows the value. */
const volatile __u32 step = 1;
const volatile __u16 limit = 1000;
static const volatile __u8 table[4] = { 11, 22, 33, 44 };

/* .bss */
__u64 seen;
static __u32 long_frames;
__u32 slots[4];

/* .data */
__u64 total = 5000000000;
static volatile __s32 balance = -3;

/* A section of data with a name of its own. */
__u32 mark SEC(".data.marks") = 0x600d;

SEC("socket")
int count(struct __sk_buff *skb)
{
	/* Inside a function, so the compiler calls it `count.calls`. */
	static volatile __u64 calls;

	calls++;
	if (skb->len > limit) {
		long_frames++;
		return 1;
	}
	__sync_fetch_and_add(&seen, step);
	__sync_fetch_and_add(&slots[skb->len & 3], 1);
	total += skb->len;
	balance++;
	mark++;
	return 0;
}

SEC("socket")
int pick(struct __sk_buff *skb)
{
	return table[load_byte(skb, 0) & 3];
}

LICENSE("GPL");
